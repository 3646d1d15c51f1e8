"""Certificates of a balancer: what is wrong with their files is told before anything changes."""

import os

import django_certificates
import pytest
from cryptography.hazmat.primitives import serialization
from front import certificate


@pytest.fixture
def tls(tmp_path):
    """A certificate and its key, which nobody else can read."""
    files = certificate(tmp_path)
    os.chmod(files["key"], 0o600)
    return files


def told(tls):
    projects = [{"name": "shop", "tls": tls}, {"name": "blog", "tls": {}}]
    return django_certificates.problems(projects)


def test_a_certificate_and_its_key_are_well(tls):
    assert told(tls) == []
    os.chmod(tls["key"], 0o640)
    assert told(tls) == []


def test_files_that_are_missing_are_told(tls):
    for path in tls.values():
        os.unlink(path)
    assert told(tls) == [
        f"django:projects:shop:web:tls:{key}: {path} on this host: No such file or directory"
        for key, path in tls.items()
    ]


def test_a_key_that_everybody_can_read_is_told(tls):
    os.chmod(tls["key"], 0o644)
    (problem,) = told(tls)
    assert problem.endswith(f"can reach {tls['key']} (mode 0644): chmod o= {tls['key']}")


def test_a_folder_is_no_certificate(tls, tmp_path):
    (problem,) = told({**tls, "certificate": str(tmp_path)})
    assert "web:tls:certificate: expected a file" in problem


def test_a_key_of_another_certificate_is_told(tls, tmp_path):
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other")
    os.chmod(other["key"], 0o600)
    (problem,) = told({**tls, "key": other["key"]})
    assert problem.endswith(
        f"{other['key']} is the key of another certificate than {tls['certificate']}"
    )


def test_what_is_no_certificate_is_told(tls, tmp_path):
    (tmp_path / "tls.pem").write_text("hello")
    (problem,) = told(tls)
    assert "are no certificate with its key" in problem


def test_a_key_with_a_passphrase_is_told_and_not_asked_for(tls, tmp_path):
    key = serialization.load_pem_private_key((tmp_path / "tls.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"passphrase")
    (tmp_path / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    (problem,) = told(tls)
    assert "passphrase" in problem
