# Leaves behind the table django_formula of nftables, which lets in what this host's roles need, and the
# service django-firewall that loads it before the network is there.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.firewall %}
  - django.host
{%- set unit = 'systemd/system/django-firewall.service' %}
{%- set service = unit if django.host.init == 'systemd' else 'init.d/django-firewall' %}

the firewall is a service:
  file.managed:
    - name: /etc/{{ service }}
    - source: salt://django/host/files/etc/{{ service }}
    - user: root
    - group: root
    - mode: '{{ '0644' if django.host.init == 'systemd' else '0755' }}'
    - require:
      - django: the pillar is valid

the firewall is active:
  django.firewall_active:
    - require:
      - pkg: packages are installed
      - file: shared directories are there

the firewall is there after a boot:
  django.service_running:
    - name: django-firewall
    - enable: True
    - require:
      - file: the firewall is a service
      - django: the firewall is active
{%- endif %}
