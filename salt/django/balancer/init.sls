# The balancer of this host: see haproxy.sls.

include:
  - django.balancer.haproxy
