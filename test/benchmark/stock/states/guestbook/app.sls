{%- set guestbook = pillar.guestbook %}
{%- set root = guestbook.root %}
{%- set manage = root ~ '/venv/bin/python manage.py' %}
{%- set environment = 'set -a; . /etc/guestbook.env; ' %}

python:
  pkg.installed:
    - pkgs: [python3, python3-venv, ca-certificates]
    - install_recommends: False

guestbook user:
  user.present:
    - name: guestbook
    - system: True
    - home: {{ root }}
    - createhome: False
    - shell: /usr/sbin/nologin

{{ root }}:
  file.directory:
    - mode: '0755'

{%- for name in ('static', 'media') %}

{{ root }}/{{ name }}:
  file.directory:
    - user: guestbook
    - group: www-data
    - require:
      - user: guestbook user
      - pkg: nginx
{%- endfor %}

/etc/guestbook.env:
  file.managed:
    - source: salt://guestbook/files/guestbook.env.jinja
    - template: jinja
    - user: root
    - group: guestbook
    - mode: '0640'
    - show_changes: False
    - require:
      - user: guestbook user

code:
  file.recurse:
    - name: {{ root }}/code
    - source: salt://source
    - clean: True
    - exclude_pat: '*.pyc'
    - require:
      - file: {{ root }}

virtual environment:
  virtualenv.managed:
    - name: {{ root }}/venv
    - venv_bin: python3
    - requirements: {{ root }}/code/requirements.txt
    - require:
      - pkg: python
      - file: code

gunicorn:
  pip.installed:
    - name: {{ guestbook.gunicorn }}
    - bin_env: {{ root }}/venv
    - require:
      - virtualenv: virtual environment

migrations:
  cmd.run:
    - name: {{ environment }}{{ manage }} migrate --noinput
    - unless: {{ environment }}{{ manage }} migrate --check
    - cwd: {{ root }}/code
    - runas: guestbook
    - require:
      - virtualenv: virtual environment
      - file: /etc/guestbook.env
      - postgres_database: database

static files:
  cmd.run:
    - name: {{ environment }}{{ manage }} collectstatic --noinput
    - onlyif: {{ environment }}{{ manage }} collectstatic --noinput --dry-run | grep -q '^Pretending to copy'
    - cwd: {{ root }}/code
    - runas: guestbook
    - require:
      - virtualenv: virtual environment
      - file: /etc/guestbook.env
      - file: {{ root }}/static
