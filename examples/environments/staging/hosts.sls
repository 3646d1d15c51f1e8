# The servers of staging. The map is read by common/top.sls too: no other template may be in it.
django:
  hosts:
    stage1: {address: 10.1.0.11, roles: [app, web, worker]}
    stage-data: {address: 10.1.0.21, roles: [database, cache]}
