{%- set database = pillar.guestbook.database %}

postgresql:
  pkg.installed:
    - install_recommends: False
  service.running:
    - enable: True
    - require:
      - pkg: postgresql

database role:
  postgres_user.present:
    - name: {{ database.user }}
    - password: {{ database.password }}
    - encrypted: scram-sha-256
    - login: True
    - user: postgres
    - require:
      - service: postgresql

database:
  postgres_database.present:
    - name: {{ database.name }}
    - owner: {{ database.user }}
    - encoding: UTF8
    - template: template0
    - user: postgres
    - require:
      - postgres_user: database role
