# What ./bootstrap deploys when no pillar is named: the guestbook beside these files.
django:
  projects:
    guestbook:
      source: {path: '{{ opts.django_formula }}/examples/guestbook'}
      settings: config.settings
      health: {path: /healthz/}
      superuser: {username: admin}
