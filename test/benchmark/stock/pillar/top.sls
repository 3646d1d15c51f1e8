base:
  '*':
    - guestbook
