# Leaves behind the Debian packages of all tiers, uv (and boto3, where it is used) in /opt/django-formula, the programs of this
# formula (the launcher and timers' runner in /usr/local/lib/django-formula, django-manage for
# operators) and the directories that projects share.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.valid %}

packages are installed:
  pkg.installed:
    - pkgs: {{ django.packages | json }}
    - install_recommends: False
    - require:
      - django: the pillar is valid

uv is installed:
  django.tool_installed:
    - name: {{ django.paths.tools }}/uv
    - requirements: salt://django/host/files/uv.lock
    - require:
      - pkg: packages are installed

{%- set projects = django.projects.values() | selectattr('aws') | selectattr('name', 'in', django.released) | list %}
{%- if projects or django.external.targets | default({}) %}

boto3 is installed:
  django.tool_installed:
    - name: {{ django.paths.tools }}/aws
    - requirements: salt://django/host/files/aws.lock
    - require:
      - django: uv is installed
{%- endif %}

shared directories are there:
  file.directory:
    - names:
      - {{ django.paths.srv }}: [{mode: '0711'}]
      - {{ django.paths.run }}: [{mode: '0711'}]
      - {{ django.paths.config }}: [{mode: '0755'}]
      - {{ django.paths.log }}: [{mode: '0755'}]
      - {{ django.paths.cache }}: [{mode: '0711'}]
      - {{ django.paths.lib }}: [{mode: '0755'}]
    - user: root
    - group: root
    - require:
      - django: the pillar is valid

programs of the formula are there:
  file.managed:
    - names:
      - {{ django.paths.lib }}/with-environment:
        - source: salt://django/host/files/usr/local/lib/django-formula/with-environment
      - {{ django.paths.lib }}/run-timer:
        - source: salt://django/host/files/usr/local/lib/django-formula/run-timer
      - /usr/local/bin/django-manage:
        - source: salt://django/host/files/usr/local/bin/django-manage
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there
{%- endif %}
