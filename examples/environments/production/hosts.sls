# The servers of production. The map is read by common/top.sls too: no other template may be in it.
django:
  hosts:
    web1: {address: 10.0.0.11, roles: [app, web]}
    web2: {address: 10.0.0.12, roles: [app, web]}
    work1: {address: 10.0.0.13, roles: [worker]}
    static1: {address: 10.0.0.15, roles: [static]}
    db1: {address: 10.0.0.21, roles: [database]}
    cache1: {address: 10.0.0.22, roles: [cache]}
