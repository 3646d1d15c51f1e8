# Two servers: db1 keeps the data, web1 does the rest. Both get this pillar, so both know each other.
# What both need cannot be generated on one of them, so the passwords are here. They
# belong in an encrypted pillar.
django:
  hosts:
    web1: {address: 10.0.0.11, roles: [app, web, worker]}
    db1: {address: 10.0.0.21, roles: [database, cache]}
  projects:
    shop:
      source: {git: 'https://git.example.org/shop.git', rev: v1.4.2}
      settings: shop.settings
      domains: [shop.example.org]
      database: {password: change-this-password-1}
      cache: {password: change-this-password-2}
