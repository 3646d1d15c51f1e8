# Leaves behind /etc/cron.d/django-PROJECT for each project with timers on this host: each runs as the
# project's user in its live release, never twice at once, within its time, and logs to
# /var/log/django/PROJECT/timer-NAME.log.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if 'django.app.project' in django.tiers %}
  - django.host
  - django.app.project

{%- for name in django.released %}
{%- set project = django.projects[name] %}

{%- if project.timers %}

"{{ name }}: timers are set":
  file.managed:
    - name: /etc/cron.d/django-{{ name }}
    - source: salt://django/app/files/etc/cron.d/django.j2
    - template: jinja
    - context: {project: {{ name }}}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - django: "{{ name }}: release is live"
    - watch_in:
      - django: timers run
{%- else %}

"{{ name }}: no timers are set":
  file.absent:
    - name: /etc/cron.d/django-{{ name }}
    - require:
      - django: the pillar is valid
{%- endif %}
{%- endfor %}

{%- if django.projects.values() | selectattr('timers') | list %}

timers run:
  django.service_running:
    - name: cron
    - enable: True
    - require:
      - pkg: packages are installed
{%- endif %}
{%- endif %}
