# Leaves behind prometheus-node-exporter, at this host's address in the map, which the firewall lets
# the monitor come to and nobody else.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.exporter %}
  - django.host

{#- Before the package, whose first start would listen to everybody. #}

the exporter has its address:
  file.managed:
    - name: /etc/default/prometheus-node-exporter
    - source: salt://django/monitor/files/etc/default/prometheus-node-exporter.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - django: the pillar is valid
    - require_in:
      - pkg: packages are installed

{%- if django.host.init == 'systemd' %}

the exporter waits for its address:
  file.managed:
    - name: /etc/systemd/system/{{ django.exporter.service }}.service.d/django.conf
    - source: salt://django/monitor/files/etc/systemd/system/prometheus-node-exporter.service.d/django.conf
    - makedirs: True
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - django: the pillar is valid
    - require_in:
      - pkg: packages are installed
  cmd.run:
    - name: systemctl daemon-reload
    - onchanges:
      - file: the exporter waits for its address
    - require_in:
      - django: the exporter runs
{%- endif %}

the exporter runs:
  django.service_running:
    - name: {{ django.exporter.service }}
    - enable: True
    - follows:
      - /etc/default/prometheus-node-exporter
    - watch:
      - file: the exporter has its address
    - require:
      - pkg: packages are installed
{%- endif %}
