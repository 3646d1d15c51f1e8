# What differs in staging.
django:
  projects:
    shop:
      source: {rev: main}
      domains: [staging.shop.example.org]
      env: {PAYMENT_URL: 'https://pay-sandbox.example.org/'}
