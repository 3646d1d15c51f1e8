# Leaves behind HAProxy, which passes requests to the hosts with the role web by the projects' domains, asks
# each for its health, and leaves out those that do not answer. Its file is tried before it is put in
# place; changes reach it by a reload that keeps its sockets open, so that nobody is turned away. Hosts that
# an operator has drained stay out of the pool, and each run says which.
{%- set django = salt['django.config']() %}

include:
  - django.valid

{%- if django.haproxy %}
  - django.host

{%- set secure = django.haproxy.projects | selectattr('tls') | list %}
{%- if secure %}

certificates of the balancer can be used:
  django.certificates_usable:
    - require:
      - pkg: packages are installed

links to certificates have a directory:
  file.directory:
    - name: /etc/haproxy/tls
    - clean: True
    - exclude_pat: E@^({{ secure | map(attribute='name') | join('|') }})\.pem(\.key)?$
    - user: root
    - group: root
    - mode: '0700'
    - require:
      - django: certificates of the balancer can be used

HAProxy knows certificates by name:
  file.managed:
    - name: /etc/haproxy/certificates.list
    - source: salt://django/balancer/files/etc/haproxy/certificates.list.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - django: certificates of the balancer can be used

{%- for project in secure %}

"{{ project.name }}: HAProxy finds its certificate":
  file.symlink:
    - names:
      - {{ project.tls.link }}: [{target: '{{ project.tls.certificate }}'}]
      - {{ project.tls.link }}.key: [{target: '{{ project.tls.key }}'}]
    - force: True
    - require:
      - django: certificates of the balancer can be used
      - file: links to certificates have a directory
{%- endfor %}
{%- endif %}
{%- if django.haproxy.statistics %}

statistics of the balancer have a password:
  django.statistics_guarded:
    - require:
      - pkg: packages are installed
{%- endif %}

HAProxy is configured:
  file.managed:
    - name: /etc/haproxy/haproxy.cfg
    - source: salt://django/balancer/files/etc/haproxy/haproxy.cfg.j2
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - check_cmd: haproxy -c -q -f
    - require:
      - pkg: packages are installed
{%- if secure %}
      - file: HAProxy knows certificates by name
{%- for project in secure %}
      - file: "{{ project.name }}: HAProxy finds its certificate"
{%- endfor %}
{%- endif %}
{%- if django.haproxy.statistics %}
      - django: statistics of the balancer have a password
{%- endif %}

other servers have left their ports to HAProxy:
  django.service_dead:
    - names:
{%- for rival in django.rivals %}
      - {{ rival.service }}: [{configured: {{ rival.configured }}}]
{%- endfor %}
    - enable: False
    - require:
      - file: HAProxy is configured

HAProxy runs:
  django.service_running:
    - name: haproxy
    - enable: True
    - reload: True
    - follows:
      - /etc/haproxy/haproxy.cfg
{%- if secure %}
      - /etc/haproxy/certificates.list
{%- for project in secure %}
      - {{ project.tls.link }}
      - {{ project.tls.link }}.key
{%- endfor %}
{%- endif %}
{%- if django.haproxy.statistics %}
      - /etc/haproxy/statistics.auth
{%- endif %}
    - require:
      - django: other servers have left their ports to HAProxy
    - watch:
      - file: HAProxy is configured
{%- if django.haproxy.statistics %}
      - django: statistics of the balancer have a password
{%- endif %}
{%- if secure %}
      - file: HAProxy knows certificates by name
{%- for project in secure %}
      - file: "{{ project.name }}: HAProxy finds its certificate"
{%- endfor %}
{%- endif %}

drained hosts stay out of the pool:
  django.drained_kept:
    - require:
      - django: HAProxy runs
{%- endif %}
