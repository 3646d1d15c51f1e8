# Leaves behind a Memcached server for each project that has its cache there: on a Unix socket that
# only the project's group reaches, since it knows no password, with a limit of its memory. The server
# that the package brings, which everybody on the host may ask, is stopped. Options are tried before
# they are put in place, so that a mistake leaves the server running.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.memcached %}
  - django.host
  - django.app.users
{%- set check = '/usr/local/lib/django-formula/check-memcached' %}

Memcached options can be checked:
  file.managed:
    - name: {{ check }}
    - source: salt://django/cache/files/usr/local/lib/django-formula/check-memcached
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there

the packaged Memcached server does not run:
  django.service_dead:
    - name: memcached
    - enable: False
    - require:
      - pkg: packages are installed

{%- if django.host.init == 'systemd' %}

Memcached servers have a unit:
  file.managed:
    - name: /etc/systemd/system/memcached@.service
    - source: salt://django/cache/files/etc/systemd/system/memcached@.service
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - django: the pillar is valid
{%- endif %}

{%- for memcached in django.memcached.instances %}

"{{ memcached.project }}: Memcached is configured":
  file.managed:
    - name: {{ memcached.config }}
    - source: salt://django/cache/files/etc/default/memcached.j2
    - template: jinja
    - context: {project: {{ memcached.project }}}
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ check }}
    - require:
      - pkg: packages are installed
      - file: Memcached options can be checked

{%- if django.host.init != 'systemd' %}

"{{ memcached.project }}: Memcached has an init script":
  file.managed:
    - name: /etc/init.d/{{ memcached.service }}
    - source: salt://django/cache/files/etc/init.d/memcached.j2
    - template: jinja
    - context: {project: {{ memcached.project }}}
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - django: the pillar is valid
    - watch_in:
      - django: "{{ memcached.project }}: Memcached runs"
{%- endif %}

"{{ memcached.project }}: Memcached runs":
  django.service_running:
    - name: {{ memcached.service }}
    - enable: True
    - follows:
      - {{ memcached.config }}
{%- if django.host.init == 'systemd' %}
      - /etc/systemd/system/memcached@.service
{%- endif %}
    - watch:
      - file: "{{ memcached.project }}: Memcached is configured"
{%- if django.host.init == 'systemd' %}
      - file: Memcached servers have a unit
{%- endif %}
    - require:
      - django: the packaged Memcached server does not run
      - user: "{{ memcached.project }}: system user is there"
{%- endfor %}
{%- endif %}
