# The database server of this host, when it has the role database: see postgresql.sls.

include:
  - django.database.postgresql
