# Leaves behind Apache as the front door: apache2.conf, tuned and hardened, and one file for each
# project in /etc/apache2/django.d. Each is tried by Apache before it is put in place, so that a mistake
# in one leaves all sites as they are. Changes reach Apache by a reload. Debian's defaults for modules,
# sites and rotation by reload are not in use.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.apache %}
  - django.host
{%- if 'django.app.project' in django.tiers %}
  - django.app.project
{%- endif %}
{%- set check = '/usr/local/lib/django-formula/check-apache' %}
{%- set files = 'salt://django/web/files/etc' %}

Apache's configuration can be checked:
  file.managed:
    - name: {{ check }}
    - source: salt://django/web/files/usr/local/lib/django-formula/check-apache
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there

Apache has the entry point of projects:
  file.managed:
    - name: /usr/local/lib/django-formula/mod-wsgi.py
    - source: salt://django/web/files/usr/local/lib/django-formula/mod-wsgi.py
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: shared directories are there

Apache has its limits:
  file.managed:
    - name: /etc/apache2/restart.conf
    - source: {{ files }}/apache2/restart.conf.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: packages are installed

Apache is configured:
  file.managed:
    - name: /etc/apache2/apache2.conf
    - source: {{ files }}/apache2/apache2.conf.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ check }} main
    - require:
      - file: Apache has its limits
      - file: Apache's configuration can be checked

Apache knows its ports:
  file.managed:
    - name: /etc/apache2/ports.conf
    - source: {{ files }}/apache2/ports.conf.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ check }} ports
    - require:
      - file: Apache is configured

Apache refuses requests for unknown hosts:
  file.managed:
    - name: /etc/apache2/sites-enabled/000-default.conf
    - source: {{ files }}/apache2/sites-enabled/000-default.conf.j2
    - template: jinja
    - follow_symlinks: False
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ check }} default
    - require:
      - file: Apache knows its ports

Apache's logs are rotated:
  file.managed:
    - name: /etc/logrotate.d/apache2
    - source: {{ files }}/logrotate.d/apache2
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: packages are installed

sites of projects have a directory in Apache:
  file.directory:
    - name: /etc/apache2/django.d
    - clean: True
    - exclude_pat: E@^({{ django.apache.sites | join('|') }})\.conf$
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - pkg: packages are installed

{%- for name in django.apache.sites %}

"{{ name }}: logs of Apache are private":
  file.managed:
    - names:
      - /var/log/apache2/{{ name }}.access.log
      - /var/log/apache2/{{ name }}.error.log
    - replace: False
    - user: root
    - group: {{ django.projects[name].group }}
    - mode: '0640'
    - require:
      - user: "{{ name }}: system user is there"

"{{ name }}: Apache serves it":
  file.managed:
    - name: /etc/apache2/django.d/{{ name }}.conf
    - source: {{ files }}/apache2/django.d/project.conf.j2
    - template: jinja
    - context: {project: {{ name }}}
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ check }} site
    - require:
      - file: Apache refuses requests for unknown hosts
      - file: sites of projects have a directory in Apache
      - file: "{{ name }}: logs of Apache are private"
{%- if django.projects[name].app.server == 'mod_wsgi' %}
      - file: Apache has the entry point of projects
{%- if django.projects[name].app.mode == 'daemon' %}
      - django: "{{ name }}: slots for mod_wsgi are there"
{%- endif %}
{%- endif %}
{%- endfor %}

{%- if django.host.init != 'systemd' %}

Apache is started by its init script:
  file.append:
    - name: /etc/apache2/envvars
    # Its script asks systemd where the first process only has a name like systemd's, as the one of
    # systemd-nspawn in a container.
    - text: export APACHE_STARTED_BY_SYSTEMD=true
    - require:
      - pkg: packages are installed
    - require_in:
      - django: Apache runs
{%- endif %}

other servers have left their ports to Apache:
  django.service_dead:
    - names:
{%- for rival in django.rivals %}
      - {{ rival.service }}: [{configured: {{ rival.configured }}}]
{%- endfor %}
    - enable: False
    - require:
      - pkg: packages are installed
{%- for name in django.apache.sites %}
      - file: "{{ name }}: Apache serves it"
{%- endfor %}

Apache runs:
  django.service_running:
    - name: apache2
    - enable: True
    - follows:
      - /etc/apache2/restart.conf
    - require:
      - django: other servers have left their ports to Apache
    - watch:
      - file: Apache has its limits

Apache follows its configuration:
  django.service_reloaded:
    - name: apache2
    - follows:
      - /etc/apache2/apache2.conf
      - /etc/apache2/ports.conf
      - /etc/apache2/sites-enabled/000-default.conf
      - /etc/apache2/django.d
{%- for name in django.apache.sites %}
      - /etc/apache2/django.d/{{ name }}.conf
{%- if django.projects[name].web.tls %}
      - {{ django.projects[name].web.tls.certificate }}
{%- endif %}
{%- endfor %}
    - restarts_for:
      - /etc/apache2/restart.conf
    - require:
      - django: Apache runs
    - watch:
      - file: Apache is configured
      - file: Apache knows its ports
      - file: Apache refuses requests for unknown hosts
      - file: sites of projects have a directory in Apache
{%- for name in django.apache.sites %}
      - file: "{{ name }}: Apache serves it"
{%- endfor %}
{%- endif %}
