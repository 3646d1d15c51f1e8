"""Addresses of hosts, as other programs want them."""


def bracketed(host):
    """A host's name or address (str) as it stands before a port: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
