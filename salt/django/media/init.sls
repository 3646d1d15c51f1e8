# The media server of this host: see nfs.sls.

include:
  - django.media.nfs
