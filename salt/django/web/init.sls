# The front door of this host: see nginx.sls.

include:
  - django.web.nginx
