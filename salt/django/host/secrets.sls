# Leaves behind /etc/django-formula/secrets/PROJECT.json, for root only: the secrets that the pillar
# leaves out, generated once and never changed by a later run. Database, cache and projects need
# them.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- for name in django.projects %}

"{{ name }}: secrets are there":
  django.secrets_present:
    - project: {{ name }}
    - require:
      - django: the pillar is valid
{%- endfor %}
