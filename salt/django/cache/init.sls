# The cache servers of this host, when it has the role cache: see redis.sls.

include:
  - django.cache.redis
