# Leaves behind a balancer of somebody else that knows the hosts behind it: by the pillar's hook, which one host
# runs, and as targets, where each host sees to itself. It comes when the front door of this host serves.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.external %}
{%- set fronts = django.tiers | select('match', 'django\\.web\\.(apache|nginx)') | list %}
{%- for front in fronts %}
  - {{ front }}
{%- endfor %}
{%- if django.external.targets %}
  - django.host

this host is a target of the balancer in front:
  django.targets_registered:
    - require:
      - django: boto3 is installed
{%- for front in fronts %}
      - sls: {{ front }}
{%- endfor %}
{%- endif %}
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
