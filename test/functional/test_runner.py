"""Orders on a master: Salt's own runner finds them in this checkout, and tells why not in words."""

import pathlib

import django_keys
import pytest
import salt.config
import salt.runner

ROOT = pathlib.Path(__file__).resolve().parents[2]
# It need not be a key: where it is looked at, that is told.
KEY = "-----BEGIN PUBLIC KEY-----\nTm8ga2V5\n-----END PUBLIC KEY-----\n"


@pytest.fixture
def order(tmp_path):
    """Function that gives an order on a master which does not run: nobody is waited for."""
    options = salt.config.master_config(None)
    for name in ("pki_dir", "cachedir", "sock_dir", "extension_modules"):
        options[name] = str(tmp_path / name)
    (tmp_path / "cachedir/proc").mkdir(parents=True)
    options.update(runner_dirs=[str(ROOT / "_runners")], utils_dirs=[str(ROOT / "_utils")])
    with salt.runner.RunnerClient(options) as client:
        yield lambda name, *words: client.cmd(
            f"django.{name}", words, print_event=False, full_return=True
        )


def test_what_is_done_already_is_said(order, tmp_path):
    accepted = tmp_path / "pki_dir/minions"
    accepted.mkdir(parents=True)
    (accepted / "web1").write_text(KEY)
    answer = order("accept", "web1", django_keys.fingerprint(KEY), 0)
    assert answer["return"] == "web1 is accepted already: nothing to do"
    assert answer["success"] is True and not answer.get("retcode")


def test_a_refusal_is_a_sentence_and_a_failure(order):
    answer = order("accept", "web1", django_keys.fingerprint(KEY), 0)
    assert answer["return"].startswith("no key of web1 waits here")
    assert answer["success"] is False and answer["retcode"] == 1
