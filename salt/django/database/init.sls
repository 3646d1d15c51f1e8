# The database servers of this host, when it has the role database: see postgresql.sls, mariadb.sls.

include:
  - django.database.postgresql
  - django.database.mariadb
