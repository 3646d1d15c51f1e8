# Leaves behind a Redis server for each cache and each broker of a project: its own port on the
# loopback (and the host's address, if others use it), password, memory limit and persistence. The
# server that the package brings, which has no password, is stopped, unless a project names it. Redis
# tries a configuration before it is put in place, so that a mistake leaves the server running.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.redis %}
  - django.host
  - django.host.secrets
{%- set check = '/usr/local/lib/django-formula/check-redis' %}

Redis configuration can be checked:
  file.managed:
    - name: {{ check }}
    - source: salt://django/cache/files/usr/local/lib/django-formula/check-redis
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there

{%- if not django.redis.uses_packaged %}

the packaged Redis server does not run:
  django.service_dead:
    - name: redis-server
    - enable: False
    - require:
      - pkg: packages are installed
{%- endif %}

{%- for redis in django.redis.instances %}

"{{ redis.project }}: {{ redis.label }} has a directory":
  file.directory:
    - name: {{ redis.directory }}
    - user: redis
    - group: redis
    - mode: '0750'
    - require:
      - pkg: packages are installed

"{{ redis.project }}: {{ redis.label }} is configured":
  file.managed:
    - name: {{ redis.config }}
    - source: salt://django/cache/files/etc/redis/redis.conf.j2
    - template: jinja
    - context: {name: {{ redis.name }}}
    - user: root
    - group: redis
    - mode: '0640'
    - check_cmd: {{ check }}
    - require:
      - file: "{{ redis.project }}: {{ redis.label }} has a directory"
      - file: Redis configuration can be checked

"{{ redis.project }}: {{ redis.label }} has a password":
  django.secret_file:
    - name: /etc/redis/redis-{{ redis.name }}.acl
    - source: salt://django/cache/files/etc/redis/users.acl.j2
    - project: {{ redis.project }}
    - context: {secret: {{ redis.secret }}, channels: {{ django.host.os.release != '22.04' }}}
    - user: root
    - group: redis
    - mode: '0640'
    - require:
      - pkg: packages are installed
      - django: "{{ redis.project }}: secrets are there"

{%- if django.host.init != 'systemd' %}

"{{ redis.project }}: {{ redis.label }} has an init script":
  file.managed:
    - name: /etc/init.d/{{ redis.service }}
    - source: salt://django/cache/files/etc/init.d/redis.j2
    - template: jinja
    - context: {name: {{ redis.name }}, service: {{ redis.service }}}
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - django: the pillar is valid
    - require_in:
      - django: "{{ redis.project }}: {{ redis.label }} runs"
{%- endif %}

"{{ redis.project }}: {{ redis.label }} runs":
  django.service_running:
    - name: {{ redis.service }}
    - enable: True
    - follows:
      - {{ redis.config }}
      - /etc/redis/redis-{{ redis.name }}.acl
    - watch:
      - file: "{{ redis.project }}: {{ redis.label }} is configured"
      - django: "{{ redis.project }}: {{ redis.label }} has a password"
{%- if not django.redis.uses_packaged %}
    - require:
      - django: the packaged Redis server does not run
{%- endif %}
{%- endfor %}
{%- endif %}
