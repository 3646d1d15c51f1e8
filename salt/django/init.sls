# The tiers that this host's roles ask for, in their order: the pillar is checked, then packages and
# tools, database, cache, process manager, projects, front door. With a mistake in the pillar the
# check is all there is, and nothing on the host changes.
{%- set django = salt['django.config']() %}

include:
{%- for tier in django.tiers %}
  - {{ tier }}
{%- endfor %}
