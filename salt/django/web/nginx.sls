# Leaves behind Nginx as the front door, or as a balancer: nginx.conf, tuned and hardened, and one file for
# each project in /etc/nginx/django.d, and one for its static files where they have domains of their own. Each
# is tried by Nginx before it is put in place, so that a mistake in one project's snippet leaves all sites as
# they are. Changes reach Nginx by a reload.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.nginx %}
  - django.host
{%- if 'django.app.project' in django.tiers %}
  - django.app.project
{%- endif %}
{%- if django.varnish %}
  - django.web.varnish
{%- endif %}
{%- set check = '/usr/local/lib/django-formula/check-nginx' %}

Nginx configuration can be checked:
  file.managed:
    - name: {{ check }}
    - source: salt://django/web/files/usr/local/lib/django-formula/check-nginx
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - file: shared directories are there

Nginx is configured:
  file.managed:
    - name: /etc/nginx/nginx.conf
    - source: salt://django/web/files/etc/nginx/nginx.conf.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ check }} main
    - require:
      - pkg: packages are installed
      - file: Nginx configuration can be checked

requests for unknown hosts are refused:
  file.managed:
    - name: /etc/nginx/sites-enabled/default
    - source: salt://django/web/files/etc/nginx/sites-enabled/default.j2
    - template: jinja
    - follow_symlinks: False
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ check }} default
    - require:
      - file: Nginx is configured

sites of projects have a directory:
  file.directory:
    - name: /etc/nginx/django.d
    - clean: True
    - exclude_pat: E@^({{ django.nginx.sites | join('|') }})\.conf$
    - user: root
    - group: root
    - mode: '0755'
    - require:
      - pkg: packages are installed

{%- for name, site in django.nginx.sites.items() %}

"{{ name }}: logs of Nginx are private":
  file.managed:
    - names:
      - /var/log/nginx/{{ name }}.access.log
      - /var/log/nginx/{{ name }}.error.log
    - replace: False
    - user: {{ django.nginx.user }}
    - group: adm
    - mode: '0640'
    - require:
      - pkg: packages are installed

"{{ name }}: Nginx serves it":
  file.managed:
    - name: /etc/nginx/django.d/{{ name }}.conf
    - source: {{ site.source }}
    - template: jinja
    - context: {project: {{ site.project }}}
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: {{ check }} site
    - require:
      - file: requests for unknown hosts are refused
      - file: sites of projects have a directory
      - file: "{{ name }}: logs of Nginx are private"
{%- if site.cache %}
      - django: "{{ name }}: Varnish runs"
{%- endif %}
{%- endfor %}

other servers have left their ports to Nginx:
  django.service_dead:
    - names:
{%- for rival in django.rivals %}
      - {{ rival.service }}: [{configured: {{ rival.configured }}}]
{%- endfor %}
    - enable: False
    - require:
      - pkg: packages are installed
{%- for name, site in django.nginx.sites.items() %}
      - file: "{{ name }}: Nginx serves it"
{%- endfor %}

Nginx runs:
  django.service_running:
    - name: nginx
    - enable: True
    - reload: True
    - follows:
      - /etc/nginx/nginx.conf
      - /etc/nginx/sites-enabled/default
      - /etc/nginx/django.d
{%- for name, site in django.nginx.sites.items() %}
      - /etc/nginx/django.d/{{ name }}.conf
{%- if site.tls %}
      - {{ site.tls.certificate }}
{%- endif %}
{%- endfor %}
    - require:
      - django: other servers have left their ports to Nginx
    - watch:
      - file: Nginx is configured
      - file: requests for unknown hosts are refused
      - file: sites of projects have a directory
{%- for name, site in django.nginx.sites.items() %}
      - file: "{{ name }}: Nginx serves it"
{%- endfor %}
{%- endif %}
