"""What goes with the resolver: golden configurations, example pillars, the reference, the speed."""

import copy
import re
import subprocess
import sys
import time

import django_config
import django_manual
import django_schema
import pytest
import yaml
from pillars import GRAINS, ROOT, SOURCE, SYSTEMS, read_parameters


@pytest.mark.parametrize("system", SYSTEMS)
def test_golden_configuration_of_each_system(resolve, system):
    pillar = yaml.safe_load((ROOT / "test/unit/golden/pillar.sls").read_text())
    config = django_config.public(resolve(pillar["django"], **SYSTEMS[system]))
    golden = yaml.safe_load((ROOT / f"test/unit/golden/{system}.yaml").read_text())
    assert config == golden, "look at the difference; test/unit/golden/update writes the new one"


def test_supported_systems_are_those_with_a_file():
    common = yaml.safe_load(read_parameters("os/Debian.yaml"))
    files = sorted(path.stem for path in (ROOT / "salt/django/parameters/os").glob("*-*.yaml"))
    assert common["supported"] == files == list(SYSTEMS)


@pytest.mark.parametrize("name", ["one-server", "several-projects", "fleet"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_example_pillars_are_valid(resolve, name, system):
    pillar = yaml.safe_load((ROOT / f"examples/pillars/{name}.sls").read_text())
    config = resolve(pillar["django"], **{**SYSTEMS[system], "mem_total": 4096})
    assert (config["errors"], config["warnings"]) == ([], [])
    assert config["valid"]


def test_pillar_example_is_valid(resolve):
    pillar = yaml.safe_load((ROOT / "pillar.example").read_text())
    config = resolve(pillar["django"])
    assert (config["errors"], config["warnings"]) == ([], [])


def uncommented():
    """pillar.example with the keys left out put in: comments but those of one space after the #."""
    lines = []
    for line in (ROOT / "pillar.example").read_text().splitlines():
        match = re.fullmatch(r"(\s*)#(?! [^ ]|$)(.*)", line)
        lines.append(match.group(1) + match.group(2) if match else line)
    return yaml.safe_load("\n".join(lines))["django"]


def missing_keys(node, values, path=()):
    """Paths of schema keys that occur in none of the values."""
    values = [value for value in values if value is not None]
    if node["type"] == "map":
        maps = [value for value in values if isinstance(value, dict)]
        for key, below in node["keys"].items():
            found = [value[key] for value in maps if key in value]
            if not found:
                yield (*path, key)
            else:
                yield from missing_keys(below, found, (*path, key))
    elif node["type"] == "named":
        entries = [item for value in values for item in value.values()]
        if node["value"]["type"] == "map":
            yield from missing_keys(node["value"], entries, (*path, "*"))
    elif node["type"] == "list":
        entries = [item for value in values for item in value]
        if node["item"]["type"] == "map" and entries:
            yield from missing_keys(node["item"], entries, (*path, "*"))


def test_pillar_example_shows_every_key(schema):
    elsewhere = {("manage", "file"), ("manage", "script"), ("manage", "module")}
    missing = {path for path in missing_keys(schema, [uncommented()]) if path[-2:] not in elsewhere}
    missing = {
        path for path in missing if path[-4:-2] != ("databases", "*") and "databases" not in path
    }
    assert missing == set()


def test_pillar_example_left_out_keys_are_right_too(schema):
    _, errors = django_schema.validate(schema, uncommented(), "django")
    assert [text for text in errors if "expected only one of the keys" not in text] == []
    assert len(errors) == 4


def test_reference_is_current_and_names_every_key(schema):
    text = (ROOT / "docs/pillar.md").read_text()
    assert text == django_manual.reference(schema), "run docs/generate"
    for name in schema["keys"]["projects"]["value"]["keys"]:
        assert f"| `{name}` |" in text


def test_reference_is_checked_by_its_script():
    script = ROOT / "docs/generate"
    answer = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_reference_links_lead_somewhere(schema):
    text = django_manual.reference(schema)
    headings = {
        re.sub(r"[^\w -]", "", line[3:]).lower().replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("## ")
    }
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(links) > 20
    assert set(links) <= headings


def test_loading_reads_only_what_it_needs_and_is_quick():
    read = []

    def read_file(name):
        read.append(name)
        return read_parameters(name)

    pillar = {"django": {"projects": {"shop": {"source": SOURCE}}}}
    times = []
    for _ in range(5):
        start = time.process_time()
        config = django_config.load(pillar, GRAINS, read_file)
        times.append(time.process_time() - start)
    assert config["valid"]
    assert read[:3] == ["schema.yaml", "os/Debian.yaml", "os/Debian-12.yaml"]
    assert len(read) == 15
    if hasattr(yaml, "CSafeLoader"):
        assert min(times) < 0.04, f"{min(times) * 1000:.0f} ms"


def test_resolving_does_not_change_the_pillar(resolve):
    pillar = yaml.safe_load((ROOT / "pillar.example").read_text())["django"]
    before = copy.deepcopy(pillar)
    resolve(pillar)
    assert pillar == before


def test_pillars_of_the_readme_are_valid_on_each_server(resolve):
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    pillars = [yaml.safe_load(block)["django"] for block in blocks]
    assert len(pillars) == 2
    for pillar in pillars:
        for name in pillar.get("hosts", ["web1"]):
            config = resolve(pillar, id=name, host=name)
            assert config["valid"], config["errors"]
            assert config["warnings"] == []
