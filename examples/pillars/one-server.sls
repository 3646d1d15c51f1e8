# The smallest pillar: one project on this server, reached at every name and address it has.
django:
  projects:
    shop:
      source: {git: 'https://git.example.org/shop.git', rev: v1.4.2}
      settings: shop.settings
