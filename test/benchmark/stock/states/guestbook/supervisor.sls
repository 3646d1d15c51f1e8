{%- set root = pillar.guestbook.root %}

supervisor:
  pkg.installed:
    - install_recommends: False
  service.running:
    - enable: True
    - require:
      - pkg: supervisor

/etc/supervisor/conf.d/guestbook.conf:
  file.managed:
    - source: salt://guestbook/files/supervisor.conf.jinja
    - template: jinja
    - require:
      - pkg: supervisor

/run/guestbook:
  file.directory:
    - user: guestbook
    - group: www-data
    - require:
      - user: guestbook user
      - pkg: nginx

program is known:
  cmd.run:
    - name: supervisorctl update
    - onchanges:
      - file: /etc/supervisor/conf.d/guestbook.conf
    - require:
      - service: supervisor
      - file: /run/guestbook
      - cmd: migrations
      - cmd: static files
      - pip: gunicorn

program is running:
  cmd.run:
    - name: supervisorctl start guestbook
    - unless: supervisorctl status guestbook | grep -q RUNNING
    - require:
      - cmd: program is known

program has the code:
  cmd.run:
    - name: supervisorctl restart guestbook
    - onchanges:
      - file: code
      - file: /etc/guestbook.env
      - virtualenv: virtual environment
    - require:
      - cmd: program is running
