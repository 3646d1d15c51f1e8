{{ opts.saltenv or 'base' }}:
  '*':
    - django
