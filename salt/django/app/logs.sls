# Leaves behind /etc/logrotate.d/django-PROJECT for each project: its logs are rotated daily, or
# sooner when they are large, without a signal to any process.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if 'django.app.project' in django.tiers %}
  - django.host

{%- for name in django.released %}

"{{ name }}: logs are rotated":
  file.managed:
    - name: /etc/logrotate.d/django-{{ name }}
    - source: salt://django/app/files/etc/logrotate.d/django.j2
    - template: jinja
    - context: {project: {{ name }}}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: packages are installed
{%- endfor %}
{%- endif %}
