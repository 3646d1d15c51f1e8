# Leaves behind the system user of each project of this host, and the group of the same name.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if 'django.app.project' in django.tiers %}

{%- for name in django.released %}
{%- set project = django.projects[name] %}
{%- if project.uid %}

"{{ name }}: number of its user is settled":
  django.number_settled:
    - user: {{ project.user }}
    - number: {{ project.uid }}
    - require:
      - django: the pillar is valid
    - require_in:
      - group: "{{ name }}: system group is there"
{%- endif %}

"{{ name }}: system group is there":
  group.present:
    - name: {{ project.group }}
    - system: True
{%- if project.uid %}
    - gid: {{ project.uid }}
{%- endif %}
    - require:
      - django: the pillar is valid

"{{ name }}: system user is there":
  user.present:
    - name: {{ project.user }}
{%- if project.user == 'www-data' %}
    - createhome: False
{%- else %}
    - system: True
{%- if project.uid %}
    - uid: {{ project.uid }}
{%- endif %}
    - gid: {{ project.uid or project.group }}
    - allow_gid_change: True
    - home: {{ project.paths.cache }}
    - createhome: False
    - shell: /usr/sbin/nologin
{%- endif %}
    - require:
      - group: "{{ name }}: system group is there"
{%- endfor %}
{%- endif %}
