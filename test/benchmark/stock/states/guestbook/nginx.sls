nginx:
  pkg.installed:
    - install_recommends: False
  service.running:
    - enable: True
    - reload: True
    - watch:
      - file: /etc/nginx/sites-available/guestbook
      - file: /etc/nginx/sites-enabled/guestbook
      - file: /etc/nginx/sites-enabled/default

/etc/nginx/sites-available/guestbook:
  file.managed:
    - source: salt://guestbook/files/nginx.conf.jinja
    - template: jinja
    - require:
      - pkg: nginx

/etc/nginx/sites-enabled/guestbook:
  file.symlink:
    - target: /etc/nginx/sites-available/guestbook
    - require:
      - file: /etc/nginx/sites-available/guestbook

/etc/nginx/sites-enabled/default:
  file.absent:
    - require:
      - pkg: nginx
