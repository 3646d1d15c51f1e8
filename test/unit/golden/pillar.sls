# The pillar behind the golden configurations beside this file.
django:
  projects:
    shop:
      source: {git: 'git@git.example.org:team/shop.git', rev: v1.4.2, subdirectory: web}
      settings: shop.settings.production
      domains: [shop.example.org, .shop.example.net]
      system_packages: {build: [gcc], run: [gettext-base]}
      env: {CELERY_BROKER_URL: '@{redis.url1}', FEATURES: {beta: '@{secrets.debug_key}', list: [1, two]}}
      secrets: {debug_key: {generate: 20, format: hex}}
      files: {shop/local.py: {content: {TOKEN: '@{secrets.debug_key}'}, variable: SHOP_LOCAL}}
      writable: [data, {path: reports, link: var/reports}]
      build: [npm ci && npm run build]
      tasks: [{name: reindex, manage: rebuild_index --noinput, when: after}]
      database: {extensions: [pg_trgm]}
      processes: {worker: {command: celery -A shop worker, count: 2, stop_timeout: 5m}}
      timers: {clearsessions: {manage: clearsessions, schedule: daily}}
      web: {tls: {certificate: /etc/ssl/shop.pem, key: /etc/ssl/private/shop.key}, max_body_size: 100M}
      superuser: {}
    intranet:
      source: {path: /srv/src/intranet}
      database: {engine: sqlite}
      cache: {engine: locmem}
