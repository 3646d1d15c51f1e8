# Leaves behind no running program and no timer of a project that the pillar does not name for this
# host any more, and no Memcached or Varnish that no project asks for. Its releases, uploads, secrets,
# database and cache stay: put back into the pillar, it is as it was. It comes last, when the front
# door does not ask for such a project any more.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.valid %}
{%- set fronts = django.tiers | select('match', 'django\\.web\\.(apache|nginx)') | list %}
{%- for front in fronts %}
  - {{ front }}
{%- endfor %}

projects that left the pillar do not run:
  django.departed_stopped:
    - require:
      - django: the pillar is valid
{%- for front in fronts %}
      - sls: {{ front }}
{%- endfor %}
{%- endif %}
