# Leaves behind Keepalived, by which several balancers have one address between them: that of the first which
# serves. The one that has it says so twice a second; when it is silent, or does not serve, the next takes it.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.keepalived %}
  - django.host
{%- set check = '/usr/local/lib/django-formula/check-balancer' %}

a balancer can be asked whether it serves:
  file.managed:
    - name: {{ check }}
    - source: salt://django/balancer/files/usr/local/lib/django-formula/check-balancer
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there

Keepalived is configured:
  file.managed:
    - name: /etc/keepalived/keepalived.conf
    - source: salt://django/balancer/files/etc/keepalived/keepalived.conf.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: keepalived --config-test --use-file
    - require:
      - pkg: packages are installed
      - file: a balancer can be asked whether it serves

Keepalived runs:
  django.service_running:
    - name: keepalived
    - enable: True
    - reload: True
    - follows:
      - /etc/keepalived/keepalived.conf
    - watch:
      - file: Keepalived is configured
{%- endif %}
