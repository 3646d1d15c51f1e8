base:
  '*':
    - django
