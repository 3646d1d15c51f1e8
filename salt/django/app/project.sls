# Leaves behind each project of this host: its directories below /srv/django and in /etc, /run and
# /var, and its release, built beside the old one, checked, migrated, switched to when it is healthy.
# Its steps are those that the host needs; each requires the one before it.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if 'django.app.project' in django.tiers %}
{%- set before = django.tiers[:django.tiers.index('django.app.project')] %}
{%- for tier in before[1:] %}
  - {{ tier }}
{%- endfor %}
  - django.host.secrets
  - django.app.users
  - django.app.timers
  - django.app.logs
{%- if django.apache and django.projects.values() | selectattr('app.server', 'equalto', 'mod_wsgi') | list %}
  - django.web.apache
{%- endif %}

{%- for name in django.released %}
{%- set project = django.projects[name] %}
{%- set paths = project.paths %}

"{{ name }}: directories are there":
  file.directory:
    - names:
      - {{ paths.root }}: [{mode: '0711'}]
{%- for path in (paths.releases, paths.venvs, paths.instances) %}
      # What is in them has its own group, that of the project's user when it was made.
      - {{ path }}: [{mode: '{{ '0711' if project.app.mode == 'embedded' else '0750' }}'}]
{%- endfor %}
      - {{ paths.shared }}: [{mode: '0711'}]
      - {{ paths.static }}: [{mode: '0755'}]
      - {{ paths.config }}
{%- if not (project.media.s3 or project.media.mount) %}
      - {{ paths.media }}: [{user: {{ project.user }}}, {group: www-data}, {mode: '2750'}]
{%- endif %}
{%- if project.media.private and not project.media.mount %}
      - {{ paths.private }}: [{user: {{ project.user }}}, {group: www-data}, {mode: '2750'}]
{%- endif %}
      - {{ paths.run }}: [{user: {{ project.user }}}, {group: www-data}, {mode: '2750'}]
      - {{ paths.log }}: [{mode: '3770'}]
      - {{ paths.cache }}: [{user: {{ project.user }}}, {mode: '0700'}]
{%- for path in project.above_writable %}
      - {{ path }}
{%- endfor %}
{%- for path in project.writable %}
      - {{ path }}: [{user: {{ project.user }}}]
{%- endfor %}
    - user: root
    - group: {{ project.group }}
    - mode: '0750'
    - require:
      - user: "{{ name }}: system user is there"
      - file: shared directories are there

{%- if project.app.server == 'mod_wsgi' and project.app.mode == 'daemon' and django.apache %}

"{{ name }}: slots for mod_wsgi are there":
  django.slots_ready:
    - project: {{ name }}
    - require:
      - file: "{{ name }}: directories are there"
{%- endif %}

"{{ name }}: directory in /run is there after a boot":
  file.managed:
    - name: /etc/tmpfiles.d/django-{{ name }}.conf
    - source: salt://django/app/files/etc/tmpfiles.d/django.conf.j2
    - template: jinja
    - context: {project: {{ name }}}
    - makedirs: True
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: "{{ name }}: directories are there"

"{{ name }}: django-manage knows it":
  file.managed:
    - name: {{ paths.config }}/manage
    - source: salt://django/app/files/etc/django/manage.j2
    - template: jinja
    - context: {project: {{ name }}}
    - user: root
    - group: {{ project.group }}
    - mode: '0644'
    - require:
      - file: "{{ name }}: directories are there"

{%- for step in project.steps %}

"{{ name }}: {{ step.title }}":
  django.{{ step.function }}:
    - project: {{ name }}
{%- if 'when' in step %}
    - when: {{ step.when }}
{%- endif %}
    - require:
{%- if loop.first %}
{%- for tier in before %}
      - sls: {{ tier }}
{%- endfor %}
      - file: "{{ name }}: directories are there"
      - django: "{{ name }}: secrets are there"
{%- else %}
      - django: "{{ name }}: {{ loop.previtem.title }}"
{%- endif %}
{%- if step.function == 'release_live' and project.app.server == 'mod_wsgi' and django.apache %}
      - django: Apache follows its configuration
{%- endif %}
{%- endfor %}
{%- endfor %}
{%- endif %}
