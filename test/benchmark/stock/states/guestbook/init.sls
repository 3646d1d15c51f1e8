# The guestbook by the states that Salt brings along.

include:
  - guestbook.postgresql
  - guestbook.redis
  - guestbook.app
  - guestbook.supervisor
  - guestbook.nginx
