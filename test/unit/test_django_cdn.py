"""What a CDN has to forget, and the step that tells it."""

import json
import os
import pathlib
import types

import django_aws
import django_cdn
import django_layout
import django_step_cdn
import pytest
from django_deployment import StepError
from django_run import CommandError


def write(folder, **texts):
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_files_with_a_hash_and_variants_are_left_out(tmp_path):
    for name in ("a.css", "a.css.gz", "a.0123456789ab.css", "x/b-0123456789abcdef.js", "x/b.js"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "data.gz").write_text("its own")
    assert sorted(django_cdn.files(tmp_path, {})) == ["a.css", "data.gz", "x/b.js"]


def test_content_counts_and_not_the_moment(tmp_path):
    write(tmp_path, a_css="one", b_css="two")
    before = django_cdn.files(tmp_path, {})
    os.utime(tmp_path / "a.css", (1, 1))
    write(tmp_path, b_css="three")
    now = django_cdn.files(tmp_path, before)
    assert django_cdn.outdated(before, now) == ["b.css"]
    assert django_cdn.outdated(before, {}) == ["a.css", "b.css"]
    assert django_cdn.outdated({}, now) == [], "nobody has what was not there"


def test_paths_are_quoted_and_many_are_one():
    assert django_cdn.paths("/static/", ["a b.css", "é.js", "1%.txt", "s*r.txt"]) == [
        "/static/a%20b.css",
        "/static/%C3%A9.js",
        "/static/1%25.txt",
        "/static/s%2Ar.txt",
    ]
    many = [f"{number}.css" for number in range(django_cdn.MOST_PATHS + 1)]
    assert len(django_cdn.paths("/s/", many[:-1])) == django_cdn.MOST_PATHS
    assert django_cdn.paths("/s/", many) == django_cdn.paths("/s/", None) == ["/s/*"]


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A project with one published file; ``asked`` has the requests, ``error`` fails them."""
    published = tmp_path / "static"
    write(published, a_css="one")
    asked = []

    def ask(wanted, text):
        asked.append(wanted)
        if made.error:
            raise django_aws.AwsError(*made.error)
        return {"id": f"I{len(asked)}"}

    monkeypatch.setattr(django_aws, "ask", ask)
    keys = {"endpoint": None, "region": "us-east-1", "access_key": "AKIA1"}
    made = types.SimpleNamespace(
        name="shop",
        project={
            "cdn": {"distribution": "E1", "url": "https://cdn.test", **keys},
            "static": {"location": "/static/", "enabled": True},
            "static_site": {},
        },
        host={"name": "web1", "roles": ["app", "web"]},
        secrets={"cdn.secret_key": "very-secret"},
        layout=types.SimpleNamespace(static=published, cdn=tmp_path / "cdn.json"),
        record={"static": str(published)},
        hold=None,
        key=b"k",
        test=False,
        asked=asked,
        error=None,
        read_file=lambda url: "",
        redact=lambda text: text.replace("very-secret", "***"),
    )
    return made


def told(deployment):
    """Paths of each request so far."""
    return [wanted["paths"] for wanted in deployment.asked]


def test_the_step_tells_what_changed_and_no_more(deployment):
    assert django_step_cdn.invalidate(deployment).changes == {"invalidated": ["/static/*"]}
    assert django_step_cdn.invalidate(deployment).changes == {}
    write(deployment.layout.static, a_css="two", b_css="new")
    deployment.test = True
    predicted = django_step_cdn.invalidate(deployment).changes
    deployment.test = False
    assert django_step_cdn.invalidate(deployment).changes == predicted
    assert told(deployment) == [["/static/*"], ["/static/a.css"]]
    (deployment.layout.static / "b.css").unlink()
    django_step_cdn.invalidate(deployment)
    assert told(deployment)[-1] == ["/static/b.css"]
    assert django_step_cdn.invalidate(deployment).changes == {}
    assert deployment.asked[0]["secret_key"] == "very-secret"
    assert len({wanted["reference"] for wanted in deployment.asked}) == 3


def test_what_failed_is_told_again_as_the_same(deployment):
    deployment.error = ("very-secret is wrong", "AccessDenied")
    for _ in range(2):
        with pytest.raises(StepError) as raised:
            django_step_cdn.invalidate(deployment)
        assert "next run" in str(raised.value) and "very-secret" not in str(raised.value)
        assert not raised.value.blames_release
    deployment.error = None
    django_step_cdn.invalidate(deployment)
    assert len({wanted["reference"] for wanted in deployment.asked}) == 1, "never made twice"
    assert django_step_cdn.invalidate(deployment).changes == {}


def test_another_distribution_has_another_past(deployment):
    django_step_cdn.invalidate(deployment)
    deployment.project["cdn"]["distribution"] = "E2"
    assert django_step_cdn.invalidate(deployment).changes == {"invalidated": ["/static/*"]}
    assert len({wanted["reference"] for wanted in deployment.asked}) == 2


def test_files_to_come_are_predicted(deployment, tmp_path):
    django_step_cdn.invalidate(deployment)
    write(tmp_path / "collected", a_css="two")
    deployment.record = {"static": str(tmp_path / "collected")}
    deployment.test = True
    assert django_step_cdn.invalidate(deployment).changes == {"invalidated": "what changes"}
    assert len(deployment.asked) == 1


def test_nobody_is_told_without_a_distribution_or_at_a_host_that_serves_nothing(deployment):
    deployment.host["roles"] = ["app", "worker"]
    assert django_step_cdn.invalidate(deployment).changes == {}
    deployment.host["roles"] = ["app", "web"]
    deployment.project["static_site"] = {"domains": ["static.shop.test"]}
    assert django_step_cdn.invalidate(deployment).changes == {}
    deployment.project["cdn"]["distribution"] = None
    assert django_step_cdn.invalidate(deployment).changes == {}
    assert deployment.asked == []


def test_hosts_for_static_files_alone_tell_of_what_they_serve(deployment):
    deployment.project["static_site"] = {"domains": ["static.shop.test"]}
    deployment.host["roles"] = ["static"]
    assert django_step_cdn.invalidate(deployment).changes == {"invalidated": ["/static/*"]}


def test_requests_go_through_standard_input(monkeypatch):
    seen = {}

    def run(argv, **how):
        seen.update(how, argv=argv)
        return types.SimpleNamespace(stdout=json.dumps({"id": "I1"}))

    monkeypatch.setattr(django_aws, "run", run)
    where = {"endpoint": None, "region": "us-east-1"}
    wanted = django_aws.request("invalidate", where, ("AKIA1", 'it\'s "secret"'), paths=["/a"])
    assert django_aws.ask(wanted, "print(1)") == {"id": "I1"}
    assert "secret" not in json.dumps([seen["argv"], seen["env"]])
    namespace = {}
    exec(seen["stdin"].replace("print(1)", ""), namespace)
    assert json.loads(namespace["REQUEST"])["secret_key"] == 'it\'s "secret"'


def test_boto3_that_does_not_work_is_told(monkeypatch):
    def run(argv, **how):
        raise CommandError(argv, 1, "ImportError: boto3", "exit status 1")

    monkeypatch.setattr(django_aws, "run", run)
    with pytest.raises(django_aws.AwsError, match="ImportError") as raised:
        django_aws.ask({}, "")
    assert raised.value.code == "Broken"


def test_the_record_survives_as_json(deployment):
    django_step_cdn.invalidate(deployment)
    record = django_layout.read_json(deployment.layout.cdn)
    assert list(record["files"]) == ["a.css"] and record["serial"] == 1
    assert pathlib.Path(deployment.layout.cdn).stat().st_mode & 0o777 == 0o644
