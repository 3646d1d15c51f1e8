# Leaves behind Prometheus, which asks every host of the map and each project's health page, and its
# blackbox exporter, both at this host's loopback, with rules for alerts.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.monitor %}
  - django.host

{#- Before the packages, whose first start would listen to everybody. #}
{%- for name in ('prometheus', 'prometheus-blackbox-exporter') %}

"{{ name }} has its address":
  file.managed:
    - name: /etc/default/{{ name }}
    - source: salt://django/monitor/files/etc/default/{{ name }}.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - django: the pillar is valid
    - require_in:
      - pkg: packages are installed
{%- endfor %}

alerts have rules:
  file.managed:
    - name: /etc/prometheus/rules/django.yml
    - source: salt://django/monitor/files/etc/prometheus/rules/django.yml
    - makedirs: True
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: promtool check rules
    - require:
      - pkg: packages are installed

Prometheus knows the map:
  file.managed:
    - name: /etc/prometheus/prometheus.yml
    - source: salt://django/monitor/files/etc/prometheus/prometheus.yml.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: promtool check config
    - require:
      - file: alerts have rules

health pages are known:
  file.managed:
    - name: /etc/prometheus/blackbox.yml
    - source: salt://django/monitor/files/etc/prometheus/blackbox.yml.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: packages are installed

health pages can be asked for:
  django.service_running:
    - name: prometheus-blackbox-exporter
    - enable: True
    - follows:
      - /etc/default/prometheus-blackbox-exporter
      - /etc/prometheus/blackbox.yml
    - watch:
      - file: prometheus-blackbox-exporter has its address
      - file: health pages are known

Prometheus runs:
  django.service_running:
    - name: prometheus
    - enable: True
    - follows:
      - /etc/default/prometheus
    - watch:
      - file: prometheus has its address
    - require:
      - file: Prometheus knows the map

Prometheus follows the map:
  django.service_reloaded:
    - name: prometheus
    - follows:
      - /etc/prometheus/prometheus.yml
      - /etc/prometheus/rules/django.yml
    - restarts_for:
      - /etc/default/prometheus
    - watch:
      - file: Prometheus knows the map
      - file: alerts have rules
    - require:
      - django: Prometheus runs
{%- endif %}
