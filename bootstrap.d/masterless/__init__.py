"""
A server without a master: registers this repository with the Salt of this server, checks and
installs the pillar, applies the highstate and tells what came of it.

registration  what Salt's configuration and the pillar's folder hold
preflight     what would stand in the way of the sites
engine        the only module that imports Salt
syntax        where a pillar file is not YAML
progress      what is shown while the highstate runs
report        what is said at its end
command       all of that in its order
"""
