# Leaves behind a balancer of somebody else that knows the hosts behind it: it was told by the pillar's hook,
# on one host. It comes when the front door of this host serves.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.external %}
{%- set fronts = django.tiers | select('match', 'django\\.web\\.(apache|nginx)') | list %}
{%- for front in fronts %}
  - {{ front }}
{%- endfor %}
{%- if django.external.hook %}

the balancer in front knows its backends:
  django.backends_told:
    - require:
      - django: the pillar is valid
{%- for front in fronts %}
      - sls: {{ front }}
{%- endfor %}
{%- endif %}
{%- endif %}
