# Leaves behind HAProxy, which passes requests to the hosts with the role web by the projects' domains, asks
# each for its health, and leaves out those that do not answer. Its file is tried before it is put in
# place; changes reach it by a reload that keeps its sockets open, so that nobody is turned away. Hosts that
# an operator has drained stay out of the pool, and each run says which.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.haproxy %}
  - django.host

HAProxy is configured:
  file.managed:
    - name: /etc/haproxy/haproxy.cfg
    - source: salt://django/balancer/files/etc/haproxy/haproxy.cfg.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: haproxy -c -q -f
    - require:
      - pkg: packages are installed

HAProxy runs:
  django.service_running:
    - name: haproxy
    - enable: True
    - reload: True
    - follows: [/etc/haproxy/haproxy.cfg]
    - watch:
      - file: HAProxy is configured

drained hosts stay out of the pool:
  django.drained_kept:
    - require:
      - django: HAProxy runs
{%- endif %}
