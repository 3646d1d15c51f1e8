# Leaves behind a Varnish for each project whose pages are to be cached: between Nginx and the
# application, on a Unix socket that only Nginx reaches, with a limit of its memory. Its rules are
# tried before they are put in place and taken without a restart; pages of older releases are
# forgotten. The server that the package brings, which everybody may ask, is stopped. On a balancer it is
# one server that passes requests on, see balancer/varnish.sls.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.varnish %}
  - django.host
{%- if 'django.app.project' in django.tiers %}
  - django.app.project
{%- endif %}
{%- set lib = '/usr/local/lib/django-formula' %}

Varnish can be checked and steered:
  file.managed:
    - names:
      - {{ lib }}/check-varnish:
        - source: salt://django/web/files/usr/local/lib/django-formula/check-varnish
      - {{ lib }}/steer-varnish:
        - source: salt://django/web/files/usr/local/lib/django-formula/steer-varnish
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there

{%- for service in django.varnish.packaged %}

the packaged service {{ service }} does not run:
  django.service_dead:
    - name: {{ service }}
    - enable: False
    - require:
      - pkg: packages are installed
{%- endfor %}

Varnish may reach the sockets of projects:
  group.present:
    - name: www-data
    - addusers:
      - vcache
    - require:
      - pkg: packages are installed

{%- if django.host.init == 'systemd' %}

Varnish servers have a unit:
  file.managed:
    - name: /etc/systemd/system/varnish@.service
    - source: salt://django/web/files/etc/systemd/system/varnish@.service
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - django: the pillar is valid
{%- endif %}

{%- for varnish in django.varnish.instances %}

"{{ varnish.project }}: Varnish has its options":
  file.managed:
    - name: {{ varnish.config }}
    - source: salt://django/web/files/etc/default/varnish.j2
    - template: jinja
    - context: {project: {{ varnish.project }}}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: packages are installed

"{{ varnish.project }}: Varnish has its rules":
  file.managed:
    - name: {{ varnish.vcl }}
    - source: {{ varnish.source }}
    - template: jinja
    - context: {project: {{ varnish.project }}}
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ lib }}/check-varnish
    - require:
      - pkg: packages are installed
      - file: Varnish can be checked and steered

{%- if django.host.init != 'systemd' %}

"{{ varnish.project }}: Varnish has an init script":
  file.managed:
    - name: /etc/init.d/{{ varnish.service }}
    - source: salt://django/web/files/etc/init.d/varnish.j2
    - template: jinja
    - context: {project: {{ varnish.project }}}
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - django: the pillar is valid
    - watch_in:
      - django: "{{ varnish.project }}: Varnish runs"
{%- endif %}

"{{ varnish.project }}: Varnish runs":
  django.service_running:
    - name: {{ varnish.service }}
    - enable: True
    - follows:
      - {{ varnish.config }}
{%- if django.host.init == 'systemd' %}
      - /etc/systemd/system/varnish@.service
{%- endif %}
    - watch:
      - file: "{{ varnish.project }}: Varnish has its options"
      - group: Varnish may reach the sockets of projects
{%- if django.host.init == 'systemd' %}
      - file: Varnish servers have a unit
{%- endif %}
    - require:
{%- for service in django.varnish.packaged %}
      - django: the packaged service {{ service }} does not run
{%- endfor %}
      - file: "{{ varnish.project }}: Varnish has its rules"

"{{ varnish.project }}: Varnish uses its rules":
  django.service_reloaded:
    - name: {{ varnish.service }}
    - follows:
      - {{ varnish.vcl }}
    - restarts_for:
      - {{ varnish.config }}
    - watch:
      - file: "{{ varnish.project }}: Varnish has its rules"
    - require:
      - django: "{{ varnish.project }}: Varnish runs"
{%- if varnish.purged %}

"{{ varnish.project }}: old pages are forgotten":
  django.pages_purged:
    - project: {{ varnish.project }}
    - require:
      - django: "{{ varnish.project }}: Varnish uses its rules"
      - django: "{{ varnish.project }}: release is live"
{%- endif %}
{%- endfor %}
{%- endif %}
