# The front door of this host: see varnish.sls and nginx.sls.

include:
  - django.web.varnish
  - django.web.nginx
