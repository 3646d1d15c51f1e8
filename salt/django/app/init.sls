# The projects of this host: see project.sls.

include:
  - django.app.project
