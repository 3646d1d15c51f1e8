# Leaves behind the system user of each project of this host, and the group of the same name.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if 'django.app.project' in django.tiers %}

{%- for name, project in django.projects.items() %}
{%- if project.uid %}

"{{ name }}: system group is there":
  group.present:
    - name: {{ project.group }}
    - system: True
    - gid: {{ project.uid }}
    - require:
      - django: the pillar is valid
    - require_in:
      - user: "{{ name }}: system user is there"
{%- endif %}

"{{ name }}: system user is there":
  user.present:
    - name: {{ project.user }}
    - system: True
{%- if project.uid %}
    - uid: {{ project.uid }}
    - gid: {{ project.uid }}
{%- else %}
    - usergroup: True
{%- endif %}
    - home: {{ project.paths.cache }}
    - createhome: False
    - shell: /usr/sbin/nologin
    - require:
      - django: the pillar is valid
{%- endfor %}
{%- endif %}
