# Leaves behind Supervisord from PyPI in /opt/django-formula/supervisor, its service "supervisor" with a
# socket for root only, and supervisorctl. Programs come and go while it runs; it restarts only for a
# new version or a change of its own configuration.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.supervisord %}
  - django.host
{%- set systemd = django.host.init == 'systemd' %}

Supervisord is installed:
  django.tool_installed:
    - name: {{ django.paths.tools }}/supervisor
    - requirements: salt://django/process/files/supervisor.lock
    - require:
      - django: uv is installed

Supervisord has directories:
  file.directory:
    - names:
      - /etc/supervisor
      - {{ django.supervisord.include }}
      - /var/log/supervisor: [{mode: '0750'}]
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - django: the pillar is valid

Supervisord is configured:
  file.managed:
    - name: {{ django.supervisord.config }}
    - source: salt://django/process/files/etc/supervisor/supervisord.conf.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: Supervisord has directories

supervisorctl is on the path:
  file.managed:
    - name: /usr/local/bin/supervisorctl
    - source: salt://django/process/files/usr/local/bin/supervisorctl
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - django: Supervisord is installed

the log of Supervisord is rotated:
  file.managed:
    - name: /etc/logrotate.d/supervisor
    - source: salt://django/process/files/etc/logrotate.d/supervisor
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: packages are installed

Supervisord is a service:
  file.managed:
{%- if systemd %}
    - name: /etc/systemd/system/supervisor.service
    - source: salt://django/process/files/etc/systemd/system/supervisor.service.j2
    - mode: '0644'
{%- else %}
    - name: /etc/init.d/supervisor
    - source: salt://django/process/files/etc/init.d/supervisor.j2
    - mode: '0755'
{%- endif %}
    - template: jinja
    - user: root
    - group: root
    - require:
      - django: the pillar is valid

Supervisord runs:
  django.service_running:
    - name: supervisor
    - enable: True
    - follows:
      - /opt/django-formula/supervisor/bin
      - {{ django.supervisord.config }}
    - watch:
      - django: Supervisord is installed
      - file: Supervisord is configured
    - require:
      - file: Supervisord is a service
{%- endif %}
