guestbook:
  root: /srv/guestbook
  secret_key: stock-secret-key
  gunicorn: {{ opts.gunicorn }}
  database:
    name: guestbook
    user: guestbook
    password: stock-database
  cache:
    password: stock-cache
    maxmemory: 128mb
