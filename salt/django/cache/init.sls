# The cache servers of this host, when it has the role cache: see redis.sls and memcached.sls.

include:
  - django.cache.redis
  - django.cache.memcached
