# Leaves behind each project of this host: its directories below /srv/django and in /etc, /run and
# /var, and its release, built beside the old one, checked, migrated, switched to when it is healthy.
# Where the host serves static files alone, the release is there for those, and nothing of it runs.
# Every state of a release requires the one before it.
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

{%- if project.app.server == 'mod_wsgi' and project.app.mode == 'daemon' and not project.static_only %}

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

{%- if project.media.mount %}

"{{ name }}: shared drive is mounted":
  django.share_mounted:
    - project: {{ name }}
    - require:
      - pkg: packages are installed
      - file: "{{ name }}: directories are there"
    - require_in:
      - django: "{{ name }}: source is fetched"
{%- endif %}

{%- if not project.static_only and project.databases.values() | selectattr('host', 'defined') | rejectattr('managed') | list %}

"{{ name }}: external databases answer":
  django.databases_reached:
    - project: {{ name }}
    - require:
      - file: "{{ name }}: directories are there"
      - user: "{{ name }}: system user is there"
    - require_in:
      - django: "{{ name }}: source is fetched"
{%- endif %}

"{{ name }}: source is fetched":
  django.source_fetched:
    - project: {{ name }}
    - require:
{%- for tier in before %}
      - sls: {{ tier }}
{%- endfor %}
      - file: "{{ name }}: directories are there"
      - django: "{{ name }}: secrets are there"

"{{ name }}: packages are installed":
  django.packages_installed:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: source is fetched"

"{{ name }}: release is built":
  django.release_built:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: packages are installed"

"{{ name }}: release is configured":
  django.configured:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: release is built"

"{{ name }}: release is checked":
  django.checked:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: release is configured"

{%- if project.media.s3 and not project.static_only %}

"{{ name }}: uploads have their bucket":
  django.media_ready:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: release is checked"
    - require_in:
      - django: "{{ name }}: static files are published"
{%- endif %}

"{{ name }}: static files are published":
  django.static_collected:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: release is checked"
{%- if not project.static_only %}

"{{ name }}: database is migrated":
  django.migrated:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: static files are published"

"{{ name }}: first tasks are done":
  django.tasks_done:
    - project: {{ name }}
    - when: first
    - require:
      - django: "{{ name }}: database is migrated"

"{{ name }}: tasks before the switch are done":
  django.tasks_done:
    - project: {{ name }}
    - when: before
    - require:
      - django: "{{ name }}: first tasks are done"

"{{ name }}: superuser is there":
  django.superuser:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: tasks before the switch are done"
{%- endif %}

"{{ name }}: release is live":
  django.release_live:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: {{ 'static files are published' if project.static_only else 'superuser is there' }}"
{%- if project.app.server == 'mod_wsgi' and not project.static_only %}
      - django: Apache follows its configuration
{%- endif %}

"{{ name }}: processes run":
  django.processes_live:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: release is live"

"{{ name }}: what runs is verified":
  django.verified:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: processes run"
{%- if not project.static_only %}

"{{ name }}: late migrations are applied":
  django.late_migrated:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: what runs is verified"

"{{ name }}: tasks after the switch are done":
  django.tasks_done:
    - project: {{ name }}
    - when: after
    - require:
      - django: "{{ name }}: late migrations are applied"
{%- endif %}

"{{ name }}: old releases are gone":
  django.pruned:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: {{ 'what runs is verified' if project.static_only else 'tasks after the switch are done' }}"
{%- if project.cdn and project.cdn.distribution %}

"{{ name }}: CDN forgets what changed":
  django.cdn_invalidated:
    - project: {{ name }}
    - require:
      - django: "{{ name }}: old releases are gone"
{%- endif %}
{%- endfor %}
{%- endif %}
