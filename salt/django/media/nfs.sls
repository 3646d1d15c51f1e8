# Leaves behind an NFS server (nfs-ganesha, NFS 4 alone) with a folder for each project's uploads below
# /srv/media, which the hosts of the map that run projects may mount and nobody else. Root of these hosts
# is nobody here. A change of exports or hosts reaches it by a reload, which breaks off nobody.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.nfs %}
  - django.host

folder of all uploads is there:
  file.directory:
    - name: {{ django.paths.media }}
    - user: root
    - group: root
    - mode: '0711'
    - require:
      - django: the pillar is valid

{%- for export in django.nfs.exports %}

"{{ export.project }}: folder for uploads is there":
  file.directory:
    - name: {{ export.path }}
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: folder of all uploads is there

"{{ export.project }}: uploads belong to the project":
  file.directory:
    - names: {{ export.folders | json }}
    - user: {{ export.owner }}
    - group: www-data
    - mode: '2750'
    - require:
      - file: "{{ export.project }}: folder for uploads is there"
    - require_in:
      - django: NFS server follows the map of hosts
{%- endfor %}

NFS server is configured:
  file.managed:
    - name: /etc/ganesha/ganesha.conf
    - source: salt://django/media/files/etc/ganesha/ganesha.conf.j2
    - template: jinja
    - makedirs: True
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: packages are installed

NFS server knows its exports:
  file.managed:
    - name: /etc/ganesha/exports.conf
    - source: salt://django/media/files/etc/ganesha/exports.conf.j2
    - template: jinja
    - makedirs: True
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: packages are installed

NFS server runs:
  django.service_running:
    - name: nfs-ganesha
    - enable: True
    - follows: [/etc/ganesha/ganesha.conf]
    - watch:
      - file: NFS server is configured
    - require:
      - file: NFS server knows its exports

NFS server follows the map of hosts:
  django.service_reloaded:
    - name: nfs-ganesha
    - follows: [/etc/ganesha/exports.conf]
    - restarts_for: [/etc/ganesha/ganesha.conf]
    - watch:
      - file: NFS server knows its exports
    - require:
      - django: NFS server runs

uploads are given out:
  django.uploads_given_out:
    - require:
      - django: NFS server follows the map of hosts
{%- endif %}
