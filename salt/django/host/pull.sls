# Leaves behind the command django-pull, which fetches the pillar, the formula or both from git and applies
# them, and a timer that calls it (a cron's, where systemd does not run the host); nothing of it where a
# master, or an operator over SSH, gives the pillar. django.app.departed takes it away again.
{%- set django = salt['django.config']() %}
{%- set systemd = django.host.init == 'systemd' %}

include:
  - django.valid

{%- if django.pull and opts.file_client == 'local' and not opts.django_formula_ssh | default(False) %}
  - django.host

what to pull is known:
  django.pull_configured:
    - require:
      - pkg: packages are installed

pulls can be made:
  file.managed:
    - names:
      - /usr/local/bin/django-pull:
        - source: salt://django/host/files/usr/local/bin/django-pull.j2
        - template: jinja
        - mode: '0755'
      - /etc/logrotate.d/django-pull:
        - source: salt://django/host/files/etc/logrotate.d/django-pull
        - mode: '0644'
{%- if systemd %}
      - /etc/systemd/system/django-pull.service:
        - source: salt://django/host/files/etc/systemd/system/django-pull.service
        - mode: '0644'
{%- endif %}
    - user: root
    - group: root
    - require:
      - django: what to pull is known

pulls have a timer:
  file.managed:
{%- if systemd %}
    - name: /etc/systemd/system/django-pull.timer
    - source: salt://django/host/files/etc/systemd/system/django-pull.timer.j2
{%- else %}
    - name: /etc/cron.d/django-pull
    - source: salt://django/host/files/etc/cron.d/django-pull.j2
{%- endif %}
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: pulls can be made

pulls are made:
  django.service_running:
    - name: {{ 'django-pull.timer' if systemd else 'cron' }}
    - enable: True
{%- if systemd %}
    - follows:
      - /etc/systemd/system/django-pull.timer
      - /etc/systemd/system/django-pull.service
{%- endif %}
    - {{ 'watch' if systemd else 'require' }}:
      - file: pulls have a timer
{%- endif %}
