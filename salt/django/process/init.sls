# What starts and watches processes on this host: see supervisord.sls. Projects that choose systemd
# need no tier for it.

include:
  - django.process.supervisord
