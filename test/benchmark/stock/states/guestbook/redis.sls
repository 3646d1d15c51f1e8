redis-server:
  pkg.installed:
    - install_recommends: False
  service.running:
    - enable: True
    - watch:
      - file: /etc/redis/guestbook.conf
      - file: /etc/redis/redis.conf

/etc/redis/guestbook.conf:
  file.managed:
    - contents:
      - requirepass {{ pillar.guestbook.cache.password }}
      - maxmemory {{ pillar.guestbook.cache.maxmemory }}
    - user: redis
    - group: redis
    - mode: '0640'
    - show_changes: False
    - require:
      - pkg: redis-server

/etc/redis/redis.conf:
  file.append:
    - text: include /etc/redis/guestbook.conf
    - require:
      - file: /etc/redis/guestbook.conf
