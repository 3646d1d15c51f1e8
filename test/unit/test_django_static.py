"""Static files are published, kept and removed."""

import gzip
import os
import shutil
import stat

import django_static
import pytest

STYLE = b"body { color: #123456 }\n" * 100


@pytest.fixture
def folders(tmp_path):
    """What a release collected, and the folder that the web server reads."""
    collected, published = tmp_path / "collected", tmp_path / "published"
    (collected / "app").mkdir(parents=True)
    published.mkdir()
    (collected / "app/style.css").write_bytes(STYLE)
    (collected / "app/logo.png").write_bytes(b"\x89PNG" * 1000)
    (collected / "small.css").write_bytes(b"a {}")
    (collected / "staticfiles.json").write_text("{}")
    return collected, published


def publish(collected, published, **options):
    names = django_static.unpublished(collected, published)
    django_static.publish(collected, published, names, **options)
    return names


def test_files_are_published_once(folders):
    collected, published = folders
    assert publish(*folders) == ["app/logo.png", "app/style.css", "small.css"]
    assert (published / "app/style.css").read_bytes() == STYLE
    assert django_static.unpublished(collected, published) == []


def test_who_asks_whether_files_are_there_is_told_last_and_anew(folders):
    collected, published = folders
    names = django_static.unpublished(*folders, probe=True)
    assert names == ["app/logo.png", "app/style.css", "small.css", "-/health"]
    django_static.publish(*folders, names)
    assert (published / "-/health").read_bytes() == b""
    assert django_static.unpublished(*folders, probe=True) == []
    assert django_static.stale(published, [collected]) == []
    django_static.remove(published, [])
    assert "-/health" not in django_static.listing(published), "a CDN is not told of it"
    shutil.rmtree(published)
    assert django_static.unpublished(*folders, probe=True) == names


def test_nothing_that_a_link_leads_to_is_published(folders, tmp_path):
    """Root publishes what the project has collected: a link would show what only root may read."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key.css").write_text("key")
    collected, published = folders
    (collected / "key.css").symlink_to(tmp_path / "secret/key.css")
    (collected / "secret").symlink_to(tmp_path / "secret")
    os.mkfifo(collected / "pipe.css")
    assert publish(*folders) == ["app/logo.png", "app/style.css", "small.css"]
    for name in ("key.css", "secret/key.css"):  # one that was no link when it was looked at
        with pytest.raises(OSError, match=name.partition("/")[0]):
            django_static.publish(collected, published, [name])
    assert publish(*folders) == [] and not (published / "key.css").exists()


def test_manifest_stays_private(folders):
    publish(*folders)
    assert not (folders[1] / "staticfiles.json").exists()


def test_visitors_can_read_whatever_the_umask_is(folders):
    before = os.umask(0o077)
    try:
        publish(*folders)
    finally:
        os.umask(before)
    assert stat.S_IMODE((folders[1] / "app").stat().st_mode) == 0o755
    assert stat.S_IMODE((folders[1] / "app/style.css").stat().st_mode) == 0o644
    assert stat.S_IMODE((folders[1] / "app/style.css.gz").stat().st_mode) == 0o644


def test_texts_are_compressed_where_it_helps(folders):
    publish(*folders)
    published = folders[1]
    assert gzip.decompress((published / "app/style.css.gz").read_bytes()) == STYLE
    assert not (published / "app/logo.png.gz").exists()
    assert not (published / "small.css.gz").exists()


def test_compression_can_be_left_out(folders):
    publish(*folders, compress=False)
    assert not (folders[1] / "app/style.css.gz").exists()


def test_changed_file_is_published_again_with_its_variant(folders):
    collected, published = folders
    publish(*folders)
    (collected / "app/style.css").write_bytes(STYLE * 2)
    assert publish(*folders) == ["app/style.css"]
    assert gzip.decompress((published / "app/style.css.gz").read_bytes()) == STYLE * 2


def test_variant_of_a_file_that_became_small_is_removed(folders):
    collected, published = folders
    publish(*folders)
    (collected / "app/style.css").write_bytes(b"a {}")
    publish(*folders)
    assert not (published / "app/style.css.gz").exists()


def test_deleted_file_is_seen(folders):
    collected, published = folders
    publish(*folders)
    (published / "app/logo.png").unlink()
    assert django_static.unpublished(collected, published) == ["app/logo.png"]


def test_own_compressed_variant_of_a_release_is_published(folders):
    collected, published = folders
    (collected / "app/style.css.gz").write_bytes(gzip.compress(STYLE, 9))
    publish(*folders)
    assert (published / "app/style.css.gz").read_bytes() == gzip.compress(STYLE, 9)


def test_files_of_kept_releases_stay(folders, tmp_path):
    collected, published = folders
    older = tmp_path / "older"
    older.mkdir()
    (older / "old.1234.css").write_bytes(STYLE)
    publish(older, published)
    publish(*folders)
    assert django_static.stale(published, [collected, older]) == []
    assert django_static.stale(published, [collected]) == ["old.1234.css", "old.1234.css.gz"]


def test_stale_files_and_empty_folders_are_removed(folders, tmp_path):
    collected, published = folders
    publish(*folders)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "small.css").write_bytes(b"a {}")
    django_static.remove(published, django_static.stale(published, [kept]))
    assert os.listdir(published) == ["small.css"]


def test_no_half_file_is_left_by_a_failure(folders, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        publish(*folders)
    assert django_static.listing(folders[1]) == set()


def test_a_run_killed_between_a_file_and_its_variant_is_continued(folders, monkeypatch):
    collected, published = folders
    publish(*folders)
    (collected / "app/style.css").write_bytes(STYLE * 2)
    rename = os.replace

    def end_after_one(*names):
        rename(*names)
        monkeypatch.setattr(os, "replace", killed)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", end_after_one)
    with pytest.raises(KeyboardInterrupt):
        publish(*folders)
    monkeypatch.setattr(os, "replace", rename)
    publish(*folders)
    assert (published / "app/style.css").read_bytes() == STYLE * 2
    assert gzip.decompress((published / "app/style.css.gz").read_bytes()) == STYLE * 2
