# Leaves behind the command django-backup, which saves databases and uploads of the projects in a
# repository of restic and brings them back, the repository, and a cron that calls it each night.
# django.app.departed takes the cron away again.
{%- set django = salt['django.config']() %}
{%- set backup = django.backup %}

include:
  - django.valid

{%- if backup %}
  - django.host
  - django.host.secrets
{%- if 'django.app.project' in django.tiers %}
  - django.app.project
{%- endif %}
{%- set program = '/usr/local/lib/django-formula/backup' %}

folders of the backup are there:
  file.directory:
    - names:
      - {{ program }}: [{mode: '0755'}]
      - /etc/django-formula/backup: [{mode: '0700'}]
      - /var/log/django-formula: [{mode: '0700'}]
    - makedirs: True
    - user: root
    - group: root
    - require:
      - file: shared directories are there

backups can be made:
  file.managed:
    - names:
{%- for name in ('main', 'repository', 'databases', 'folders') %}
      - {{ program }}/{{ name }}.py:
        - source: salt://django/backup/files{{ program }}/{{ name }}.py
        - mode: '0644'
{%- endfor %}
      - /usr/local/bin/django-backup:
        - source: salt://django/backup/files/usr/local/bin/django-backup
        - mode: '0755'
      - /etc/logrotate.d/django-backup:
        - source: salt://django/backup/files/etc/logrotate.d/django-backup
        - mode: '0644'
    - user: root
    - group: root
    - require:
      - file: folders of the backup are there

what to save is known:
  django.backup_configured:
    - require:
      - file: backups can be made
{%- for name in django.projects %}
      - django: "{{ name }}: secrets are there"
{%- endfor %}

backups have their repository:
  django.backup_repository_present:
    - require:
      - pkg: packages are installed
      - django: what to save is known

backups have a timer:
  file.managed:
    - name: /etc/cron.d/django-backup
    - source: salt://django/backup/files/etc/cron.d/django-backup.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - django: what to save is known

backups are made:
  django.service_running:
    - name: cron
    - enable: True
    - require:
      - file: backups have a timer
      - pkg: packages are installed
{%- endif %}
