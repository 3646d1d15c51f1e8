# The balancer of this host: see haproxy.sls and varnish.sls, of Nginx web/nginx.sls; its floating address.

include:
  - django.balancer.haproxy
  - django.balancer.varnish
  - django.balancer.keepalived
