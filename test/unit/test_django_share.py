"""Shared drives: lines of fstab, what is mounted, and the step that brings both together."""

import grp
import os
import pathlib
import shutil
import subprocess
import types

import django_share
import django_step_share
import pytest
from django_deployment import StepError
from django_run import CommandError

SHARE = {"device": "nas.test:/export/shop", "type": "nfs4", "options": "rw,nosuid"}
LINE = "nas.test:/export/shop /srv/django/shop/share nfs4 rw,nosuid 0 0"
MOUNTED = "36 35 0:52 / /srv/django/shop/share rw,nosuid - nfs4 nas.test:/export/shop rw,vers=4.2\n"
ROOT = "24 1 0:21 / / rw - overlay overlay rw,lowerdir=/a b\n"


def test_a_line_of_fstab():
    assert django_share.entry(SHARE, "/srv/django/shop/share") == LINE


def test_fstab_keeps_what_is_not_ours():
    text = "# by the installer\nUUID=1 / ext4 defaults 0 1\n"
    once = django_share.with_entry(text, LINE)
    assert once == f"{text}{django_share.MARK}\n{LINE}\n"
    assert django_share.with_entry(once, LINE) == once
    other = LINE.replace("rw,", "ro,")
    assert django_share.with_entry(once, other) == once.replace(LINE, other)
    twice = django_share.with_entry(f"{once}{other}\n", LINE)
    assert twice == once, "a mount point has one line"
    blog = LINE.replace("shop", "blog")
    assert django_share.with_entry(once, blog) == f"{once}{blog}\n"
    commented = f"# {LINE}\n"
    assert django_share.with_entry(commented, LINE).startswith(commented)


def test_what_is_mounted():
    assert django_share.mounted(ROOT, "/srv/django/shop/share") is None
    found = ("nas.test:/export/shop", "nfs4")
    assert django_share.mounted(ROOT + MOUNTED, "/srv/django/shop/share") == found
    over = MOUNTED.replace("nfs4 nas", "nfs4 other")
    assert django_share.mounted(MOUNTED + over, "/srv/django/shop/share")[0].startswith("other")
    spaced = "1 1 0:1 / /mnt/a\\040b rw - tmpfs none rw\n"
    assert django_share.mounted(spaced, "/mnt/a b") == ("none", "tmpfs")


@pytest.mark.parametrize(
    "device, kind, found, same",
    [
        ("nas:/e", "nfs", ("nas:/e", "nfs4"), True),
        ("nas:/e", "nfs4", ("nas:/e/", "nfs4"), True),
        ("nas:/uploads", "glusterfs", ("nas:/uploads", "fuse.glusterfs"), True),
        ("nas:/uploads", "glusterfs", ("nas:uploads", "fuse.glusterfs"), True),
        ("nas:/e", "nfs4", ("nas:/f", "nfs4"), False),
        ("nas:/e", "nfs4", ("nas:/e", "cifs"), False),
    ],
)
def test_a_share_by_the_names_it_goes_by(device, kind, found, same):
    assert django_share.is_same(found, {"device": device, "type": kind}) == same


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A project with a share; ``mounts`` is a file that ``mount`` writes to, unless ``fails``."""
    ran = []
    target = tmp_path / "share"

    def run(argv, user=None, **how):
        ran.append((argv, user))
        if argv[0] == "mount":
            made.dead = made.dies
            if made.fails:
                raise CommandError(argv, 32, "mount.nfs4: access denied by server", "status 32")
            made.mounts.write_text(
                f"36 35 0:52 / {target} rw - nfs4 nas.test:/export/shop rw,vers=4.2\n"
            )
        if argv[0] == "stat" and made.hangs:
            raise CommandError(argv, None, "", "killed after its time limit")
        if argv[0] == "stat" and made.dead:
            said = f"stat: cannot statx: {django_step_share.DEAD}"
            return types.SimpleNamespace(returncode=1, stdout="", stderr=said)
        if argv[0] == "umount":
            made.dead = False
            shutil.rmtree(target / "media", ignore_errors=True)  # of the drive
            made.mounts.write_text(ROOT)
        if django_step_share.MAKE in argv:
            return make(pathlib.Path(argv[4]) / argv[5], int(argv[7], 8))
        if argv[0] == "stat":
            try:
                status = os.stat(argv[-1])
            except FileNotFoundError:
                return types.SimpleNamespace(returncode=1, stdout="", stderr="No such file")
            text = f"{status.st_uid}:{status.st_gid} {status.st_mode & 0o7777:o}\n"
            return types.SimpleNamespace(returncode=0, stdout=text, stderr="")
        return types.SimpleNamespace(returncode=0, stdout="", stderr="")

    def make(folder, mode):
        """What MAKE does, which stands on the drive; here drives are folders of this machine."""
        if made.goes:
            made.mounts.write_text(ROOT)
        if made.goes or made.squashes:
            return types.SimpleNamespace(returncode=1, stdout="", stderr="Operation not permitted")
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
        return types.SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(django_step_share, "run", run)
    monkeypatch.setattr(django_step_share.django_service, "booted", lambda: False)
    monkeypatch.setattr(django_step_share.os, "chown", lambda *_: None)
    monkeypatch.setattr(django_step_share, "GROUP", grp.getgrgid(os.getgid()).gr_name)
    monkeypatch.setattr(
        django_step_share.django_layout,
        "write_atomic",
        lambda path, text: path.write_text(text),
    )
    made = types.SimpleNamespace(
        name="shop",
        project={
            "media": {"mount": dict(SHARE), "private": None},
            "paths": {
                "share": str(target),
                "media": f"{target}/media",
                "private": f"{target}/private",
            },
        },
        uid=os.getuid(),
        test=False,
        fails=False,
        dies=False,
        hangs=False,
        goes=False,
        squashes=False,
        dead=False,
        mounts=tmp_path / "mountinfo",
        fstab=tmp_path / "fstab",
        target=target,
        ran=ran,
    )
    made.mounts.write_text(ROOT)
    monkeypatch.setattr(django_share, "MOUNTS", made.mounts)
    monkeypatch.setattr(django_share, "FSTAB", made.fstab)
    return made


def test_a_share_is_mounted_once(deployment):
    deployment.test = True
    predicted = django_step_share.mount(deployment).changes
    assert not deployment.fstab.exists() and deployment.ran == []
    deployment.test = False
    assert django_step_share.mount(deployment).changes == predicted
    assert set(predicted) == {"fstab", "mounted", "folders"}
    assert django_step_share.mount(deployment).changes == {}
    assert (deployment.target / "media").stat().st_mode & 0o7777 == 0o2750
    assert not (deployment.target / "private").exists()
    assert deployment.target.stat().st_mode & 0o777 == 0o755
    probe = next(user for argv, user in deployment.ran if argv[0] == "sh" and "rm" in argv[2])
    assert probe is not None, "as the project's user"


def test_private_uploads_have_a_folder_on_the_share(deployment):
    deployment.project["media"]["private"] = {"url": "/private-media/"}
    django_step_share.mount(deployment)
    assert (deployment.target / "private").is_dir()


def test_nothing_is_made_below_a_mount_point_that_is_not_mounted(deployment):
    deployment.fails = True
    with pytest.raises(StepError, match="access denied by server") as raised:
        django_step_share.mount(deployment)
    assert "nothing is released" in str(raised.value) and not raised.value.blames_release
    assert list(deployment.target.iterdir()) == []


def test_a_share_whose_program_ends_at_once_is_not_mounted(deployment):
    deployment.dies = True
    with pytest.raises(StepError, match=f"cannot be mounted.*{django_step_share.DEAD}"):
        django_step_share.mount(deployment)
    assert deployment.ran[-1][0][0] == "umount"


def test_a_share_whose_program_ended_is_mounted_again(deployment):
    django_step_share.mount(deployment)
    deployment.dead = True
    deployment.test = True
    predicted = django_step_share.mount(deployment).changes
    deployment.test = False
    assert django_step_share.mount(deployment).changes == predicted
    assert set(predicted) == {"mounted", "folders"}
    assert django_step_share.mount(deployment).changes == {}


def test_files_that_a_share_would_hide_are_told(deployment):
    (deployment.target / "media").mkdir(parents=True)
    with pytest.raises(StepError, match="has files of this host in it"):
        django_step_share.mount(deployment)
    assert not any(argv[0] == "mount" for argv, _ in deployment.ran)


def test_another_share_is_not_taken_away_from_those_who_use_it(deployment):
    django_step_share.mount(deployment)
    deployment.project["media"]["mount"]["device"] = "nas.test:/export/other"
    with pytest.raises(StepError, match="unmount it when nothing uses it"):
        django_step_share.mount(deployment)


def test_other_options_are_for_the_next_mount(deployment):
    django_step_share.mount(deployment)
    deployment.project["media"]["mount"]["options"] = "ro"
    deployment.ran.clear()
    assert set(django_step_share.mount(deployment).changes) == {"fstab"}
    assert not any(argv[0] == "mount" for argv, _ in deployment.ran)
    assert deployment.fstab.read_text().count(str(deployment.target)) == 1


def test_a_share_whose_server_is_away_is_told(deployment):
    django_step_share.mount(deployment)
    deployment.hangs = True
    with pytest.raises(StepError, match="is the share's server well"):
        django_step_share.mount(deployment)


def test_a_share_that_gives_root_no_rights_is_told_what_to_do(deployment):
    django_step_share.mount(deployment)
    (deployment.target / "media").chmod(0o755)
    deployment.squashes = True
    with pytest.raises(StepError, match="make it on the share's server, with the owner") as raised:
        django_step_share.mount(deployment)
    assert f"{os.getuid()}:" in str(raised.value) and "2750" in str(raised.value)


def test_a_share_that_goes_away_once_it_was_mounted_is_told(deployment):
    """As one does whose server has nothing to give; the next run can go on."""
    deployment.goes = True
    for _ in range(2):
        with pytest.raises(StepError, match="so nothing is released: it went away again"):
            django_step_share.mount(deployment)
        assert list(deployment.target.iterdir()) == []
    deployment.goes = False
    assert set(django_step_share.mount(deployment).changes) == {"mounted", "folders"}


def test_nothing_is_made_where_a_drive_was(tmp_path):
    """The command itself, at a folder that is no drive."""
    own = f"{os.getuid()}:{os.getgid()}"
    argv = ["sh", "-ec", django_step_share.MAKE, "sh"]
    assert subprocess.run([*argv, tmp_path, "media", own, "2750"], check=False).returncode
    assert list(tmp_path.iterdir()) == []


def test_systemd_mounts_where_it_runs_the_host(deployment, monkeypatch):
    monkeypatch.setattr(django_step_share.django_service, "booted", lambda: True)
    with pytest.raises(StepError):  # this mount makes nothing
        django_step_share.mount(deployment)
    commands = [argv[:2] for argv, _ in deployment.ran]
    assert ["systemctl", "daemon-reload"] in commands and ["systemctl", "start"] in commands


def test_uploads_on_the_host_need_no_share(deployment):
    deployment.project["media"]["mount"] = {}
    assert django_step_share.mount(deployment).changes == {}
