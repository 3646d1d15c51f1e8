"""
A Salt master, and servers that it tells what to do, or an operator over SSH: their configuration,
their services, and what an operator types next.

configuration  what Salt's configuration holds, and who else has said something about it
service        salt-master and salt-minion under systemd, or by init scripts
master         a server becomes a master
minion         a server becomes a minion
ssh            a server becomes one from which others are looked after over SSH
"""
