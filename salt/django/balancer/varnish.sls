# Leaves behind Varnish as a balancer, which passes requests to the hosts with the role web by the projects'
# domains, asks each for its health, and keeps no page. How it is installed, run and reloaded is said in
# web/varnish.sls.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.balancer and django.varnish %}
  - django.web.varnish

other servers have left their ports to Varnish:
  django.service_dead:
    - names:
{%- for rival in django.rivals %}
      - {{ rival.service }}: [{configured: {{ rival.configured }}}]
{%- endfor %}
    - enable: False
    - require:
      - file: "balancer: Varnish has its rules"
    - require_in:
      - django: "balancer: Varnish runs"
{%- endif %}
