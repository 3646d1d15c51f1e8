# What differs in production.
django:
  projects:
    shop:
      source: {rev: v1.4.2}
      domains: [shop.example.org]
      static: {domains: [static.shop.example.org]}
      migrate: {risky: refuse}
      env: {PAYMENT_URL: 'https://pay.example.org/'}
