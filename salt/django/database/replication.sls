# Leaves behind, on the primary, a role and a slot for each replica and, on a replica, a hot standby of
# the primary; on both a check that keeps a primary down which a replica has taken the place of, before
# it starts and every ten seconds.
{%- set django = salt['django.config']() %}
{%- set postgresql = django.postgresql %}

include:
  - django.valid

{%- if postgresql and postgresql.replication %}
  - django.database.postgresql
{%- set replication = postgresql.replication %}
{%- set unit = '/etc/systemd/system/' ~ replication.unit ~ '.service.d/django.conf' %}

servers of the database know their password:
  django.replication_login_kept:
    - require:
      - pkg: packages are installed

PostgreSQL can see who is the primary:
  file.managed:
    - name: /usr/local/lib/django-formula/check-primary
    - source: salt://django/database/files/usr/local/lib/django-formula/check-primary
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there

PostgreSQL does not start where it was replaced:
  file.managed:
    - name: {{ unit }}
    - source: salt://django/database/files/etc/systemd/system/postgresql@.service.d/django.conf.j2
    - template: jinja
    - makedirs: True
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: PostgreSQL can see who is the primary
      - django: servers of the database know their password
    - require_in:
      - django: PostgreSQL runs
  cmd.run:
    - name: systemctl daemon-reload
    - onchanges:
      - file: PostgreSQL does not start where it was replaced
    - require_in:
      - django: PostgreSQL runs

a primary that was cut off can be ended:
  file.managed:
    - names:
      - /etc/systemd/system/django-primary.service:
        - source: salt://django/database/files/etc/systemd/system/django-primary.service.j2
        - template: jinja
      - /etc/systemd/system/django-primary.timer:
        - source: salt://django/database/files/etc/systemd/system/django-primary.timer
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: PostgreSQL can see who is the primary

a primary that was cut off is ended:
  django.service_running:
    - name: django-primary.timer
    - enable: True
    - follows:
      - /etc/systemd/system/django-primary.timer
      - /etc/systemd/system/django-primary.service
    - watch:
      - file: a primary that was cut off can be ended

{%- if replication.role == 'primary' %}

replicas may follow:
  django.replicas_admitted:
    - require:
      - django: PostgreSQL follows its settings
    - require_in:
{%- for database in postgresql.databases %}
      - django: "{{ database.project }}: database {{ database.alias }} is there"
{%- endfor %}

{%- else %}

this host follows {{ replication.primary.name }}:
  django.standby_kept:
    - require:
      - django: PostgreSQL follows its settings
{%- endif %}
{%- endif %}
