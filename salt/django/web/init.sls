# The front door of this host: see varnish.sls, nginx.sls and apache.sls.

include:
  - django.web.varnish
  - django.web.nginx
  - django.web.apache
