"""Certificates of a balancer: what is wrong with their files is told before anything changes."""

import django_certificates


def project(folder):
    tls = {"certificate": str(folder / "shop.pem"), "key": str(folder / "shop.key")}
    return {"name": "shop", "tls": tls}


def test_files_that_are_missing_are_told(tmp_path):
    assert django_certificates.problems([project(tmp_path), {"name": "blog", "tls": {}}]) == [
        f"django:projects:shop:web:tls:{key}: {tmp_path}/shop.{suffix} on this host:"
        " No such file or directory"
        for key, suffix in (("certificate", "pem"), ("key", "key"))
    ]


def test_a_key_that_everybody_can_read_is_told(tmp_path):
    for suffix in ("pem", "key"):
        (tmp_path / f"shop.{suffix}").write_text("x")
        (tmp_path / f"shop.{suffix}").chmod(0o644)
    (told,) = django_certificates.problems([project(tmp_path)])
    assert "everybody on this host can reach the private key" in told
    assert told.endswith(f"(mode 0644): chmod o= {tmp_path}/shop.key")
    (tmp_path / "shop.key").chmod(0o640)
    assert django_certificates.problems([project(tmp_path)]) == []


def test_a_folder_is_no_certificate(tmp_path):
    (tmp_path / "shop.pem").mkdir()
    (tmp_path / "shop.key").touch(0o600)
    (told,) = django_certificates.problems([project(tmp_path)])
    assert "web:tls:certificate: expected a file" in told
