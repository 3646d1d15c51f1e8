# The project, as it is in every environment.
django:
  projects:
    shop:
      source: {git: 'https://git.example.org/shop.git'}
      settings: shop.settings
      env: {PAYMENT_HEADER: 'Bearer @{secrets.PAYMENT_TOKEN}'}
      processes:
        jobs: {celery: {app: shop}}
        clock: {celery_beat: shop}
      superuser: {username: admin, email: admin@example.org}
