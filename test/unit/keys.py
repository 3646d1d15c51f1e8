"""Public keys, and a master's store of them in a folder."""

import types

import salt.config
import salt.key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def public_key():
    """A new public key (str) as a server of Salt sends it."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def options(folder):
    """Options (dict) of a Salt master that has everything in a folder and does not run."""
    made = salt.config.master_config(None)
    for name in ("pki_dir", "cachedir", "sock_dir", "extension_modules"):
        made[name] = str(folder / name)
    (folder / "cachedir").mkdir(exist_ok=True)
    return made


def store(folder):
    """The keys of such a master, whose events nobody waits for."""
    made = salt.key.get_key(options(folder))
    vars(made)["event"] = types.SimpleNamespace(fire_event=lambda *_: None)
    return made


def put(folder, state, server, text):
    """Give the master a key, as one comes by itself (``minions_pre``) or from an operator."""
    place = folder / "pki_dir" / state
    place.mkdir(parents=True, exist_ok=True)
    (place / server).write_text(text)
