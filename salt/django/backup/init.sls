# Backups of the projects' databases and uploads, made by this host: see restic.sls.

include:
  - django.backup.restic
