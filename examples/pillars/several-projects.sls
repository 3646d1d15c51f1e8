# Three projects on one server, each with its own user, virtualenv, database and processes.
django:
  projects:

    # from git, with a Celery worker, a scheduler and a nightly command
    shop:
      source: {git: 'https://git.example.org/shop.git', rev: v1.4.2}
      settings: shop.settings
      domains: [shop.example.org, www.shop.example.org]
      env:
        CELERY_BROKER_URL: '@{redis.url1}'
        CELERY_RESULT_BACKEND: '@{redis.url2}'
      processes:
        worker: {command: celery -A shop worker --loglevel info, stop_timeout: 5m}
        beat: {command: 'celery -A shop beat --schedule @{path.data}/beat', single: true}
      timers:
        clearsessions: {manage: clearsessions, schedule: daily}
      web: {max_body_size: 100M}

    # from a directory on this server, small: SQLite and no Redis
    intranet:
      source: {path: /srv/src/intranet}
      settings: intranet.settings
      domains: [intranet.example.org]
      database: {engine: sqlite}
      cache: {engine: locmem}
      app: {workers: 2}

    # a product from PyPI with its own command
    inventory:
      source: {pypi: 'inventory-server[ldap]==4.1.0'}
      settings: inventory.settings
      manage: {script: inventory-manage}
      domains: [inventory.example.org]
      python: {packages: ['psycopg[binary]==3.2.3']}
      writable: [scripts, reports]
      processes:
        queue: {manage: rqworker high default low, count: 2}
      health: {path: /api/status/, status: [200, 403]}
