# Leaves behind MariaDB tuned for this machine, in utf8mb4 and strict, that listens only to hosts that
# run projects, and the accounts and databases of the projects. Its root comes in over the socket only.
{%- set django = salt['django.config']() %}
{%- set mariadb = django.mariadb %}

include:
  - django.valid

{%- if mariadb %}
  - django.host
  - django.host.secrets

MariaDB settings can be checked:
  file.managed:
    - name: /usr/local/lib/django-formula/check-mariadb
    - source: salt://django/database/files/usr/local/lib/django-formula/check-mariadb
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there

MariaDB has its settings:
  file.managed:
    - name: {{ mariadb.config }}
    - source: salt://django/database/files/etc/mysql/mariadb.conf.d/90-django.cnf.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: /usr/local/lib/django-formula/check-mariadb
    - require:
      - pkg: packages are installed
      - file: MariaDB settings can be checked

MariaDB runs:
  django.service_running:
    - name: {{ mariadb.service }}
    - enable: True
    - follows:
      - {{ mariadb.config }}
    - watch:
      - file: MariaDB has its settings

{%- for database in mariadb.databases %}

"{{ database.project }}: database {{ database.alias }} is there":
  django.database_present:
    - project: {{ database.project }}
    - alias: {{ database.alias }}
    - require:
      - django: MariaDB runs
      - django: "{{ database.project }}: secrets are there"
{%- endfor %}
{%- endif %}
