# Which pillar files apply to which server, in every environment: what all may know, and the secrets
# that a server's roles have a use for, by the map of the servers.
{%- import_yaml "hosts.sls" as map %}
{%- set readers = {
  "application": ["app", "worker", "static"],
  "superuser": ["app", "worker"],
  "database": ["app", "worker", "database", "replica", "backup"],
  "cache": ["app", "worker", "cache"],
} %}
{{ saltenv }}:
  '*': [shop, environment, hosts]
{%- for name, host in map.django.hosts.items() %}
  '{{ name }}':
{%-   for secret, roles in readers.items() if roles | intersect(host.roles) %}
    - secrets.{{ secret }}
{%-   else %} []
{%-   endfor %}
{%- endfor %}
