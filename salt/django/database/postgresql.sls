# Leaves behind PostgreSQL with one UTF-8 cluster tuned for this machine, a pg_hba.conf that lets each
# project's role into its own database only, and the roles and databases of the projects. It restarts
# for settings that need it, and only reloads for others.
{%- set django = salt['django.config']() %}
{%- set postgresql = django.postgresql %}

include:
  - django.valid

{%- if postgresql %}
  - django.host
  - django.host.secrets
{%- set unit = 'postgresql@' ~ postgresql.version ~ '-main' %}
{%- set cluster = unit if django.host.init == 'systemd' else postgresql.service %}
{%- set check = '/usr/local/lib/django-formula/check-postgresql ' ~ postgresql.version %}

PostgreSQL is the one with the data:
  django.database_version_kept:
    - require:
      - django: the pillar is valid
    - require_in:
      - pkg: packages are installed

new PostgreSQL clusters are in UTF-8:
  file.managed:
    - name: /etc/postgresql-common/createcluster.d/django.conf
    - source: salt://django/database/files/etc/postgresql-common/createcluster.d/django.conf
    - makedirs: True
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - django: the pillar is valid
    - require_in:
      - pkg: packages are installed

PostgreSQL settings can be checked:
  file.managed:
    - name: /usr/local/lib/django-formula/check-postgresql
    - source: salt://django/database/files/usr/local/lib/django-formula/check-postgresql
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there

{#- Before the package, whose first start of the cluster reads them, so that none other is needed. #}
{%- for name in ('10-django-restart', '20-django-reload') %}

"PostgreSQL has the settings of {{ name }}":
  file.managed:
    - name: {{ postgresql.config_dir }}/conf.d/{{ name }}.conf
    - source: salt://django/database/files/etc/postgresql/conf.d/{{ name }}.conf.j2
    - template: jinja
    - makedirs: True
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ check }} settings
    - require:
      - django: PostgreSQL is the one with the data
      - file: PostgreSQL settings can be checked
    - require_in:
      - pkg: packages are installed
{%- endfor %}

PostgreSQL lets in whom it should:
  file.managed:
    - name: {{ postgresql.config_dir }}/pg_hba.conf
    - source: salt://django/database/files/etc/postgresql/pg_hba.conf.j2
    - template: jinja
    - user: postgres
    - group: postgres
    - mode: '0640'
    - check_cmd: {{ check }} hba {{ postgresql.port }}
    - require:
      - pkg: packages are installed
      - file: PostgreSQL settings can be checked

{%- if postgresql.replication and postgresql.replication.role == 'standby' %}

nobody is waited for by a standby:
  file.absent:
    - name: {{ postgresql.config_dir }}/conf.d/30-django-synchronous.conf
    - require:
      - django: PostgreSQL is the one with the data
{%- endif %}

PostgreSQL runs:
  django.service_running:
    - name: {{ cluster }}
    - enable: True
    - follows:
      - {{ postgresql.config_dir }}/conf.d/10-django-restart.conf
    - watch:
      - file: PostgreSQL has the settings of 10-django-restart
    - require:
      - pkg: packages are installed
      - file: PostgreSQL has the settings of 20-django-reload
      - file: PostgreSQL lets in whom it should

PostgreSQL follows its settings:
  django.service_reloaded:
    - name: {{ cluster }}
    - follows:
      - {{ postgresql.config_dir }}/conf.d/20-django-reload.conf
      - {{ postgresql.config_dir }}/pg_hba.conf
{%- if postgresql.replication %}
      - {{ postgresql.config_dir }}/conf.d/30-django-synchronous.conf
{%- endif %}
    - restarts_for:
      - {{ postgresql.config_dir }}/conf.d/10-django-restart.conf
    - watch:
      - file: PostgreSQL has the settings of 20-django-reload
      - file: PostgreSQL lets in whom it should
    - require:
      - django: PostgreSQL runs

{%- for database in postgresql.databases %}

"{{ database.project }}: database {{ database.alias }} is there":
  django.database_present:
    - project: {{ database.project }}
    - alias: {{ database.alias }}
    - require:
      - django: PostgreSQL follows its settings
      - django: "{{ database.project }}: secrets are there"
{%- endfor %}
{%- endif %}
