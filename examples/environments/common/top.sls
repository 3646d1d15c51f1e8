# Which pillar files apply to which server, in every environment: by the map of its servers what all of
# them may know, and the secrets that a server's roles have a use for. What a server says of itself
# does not count. Whoever names this environment may see its map and its values, as salt-ssh has to.
{%- import_yaml "hosts.sls" as map %}
{%- set all = ["shop", "environment", "hosts"] %}
{%- set readers = {
  "application": ["app", "worker", "static"],
  "superuser": ["app", "worker"],
  "database": ["app", "worker", "database", "replica", "backup"],
  "cache": ["app", "worker", "cache"],
} %}
{{ saltenv }}:
{%- if opts.pillarenv or saltenv == "base" %}
  '*': {{ all | json }}
{%- endif %}
{%- for name, host in map.django.hosts.items() %}
  '{{ name }}':
{%-   for file in all %}
    - {{ file }}
{%-   endfor %}
{%-   for secret, roles in readers.items() if roles | intersect(host.roles) %}
    - secrets.{{ secret }}
{%-   endfor %}
{%- endfor %}
