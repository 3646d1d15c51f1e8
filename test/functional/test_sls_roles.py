"""What the hosts of a map get, each by its roles, on every claimed system."""

import re
import subprocess

import pytest
import yaml
from rendering import SYSTEMS, Rendering, grains
from test_sls import CANARY, SHELLCHECK


@pytest.fixture(scope="module", params=[*SYSTEMS])
def system(request):
    return request.param


def test_the_host_map_decides_what_a_host_gets(minion_opts):
    password = {"password": "x" * 20}
    project = {"source": {"path": "/srv/src"}, "database": password, "cache": password}
    project["secrets"] = {"SECRET_KEY": "y" * 50}
    pillar = {
        "hosts": {
            "host1": {"address": "10.0.0.11", "roles": ["database"]},
            "host2": {"address": "10.0.0.12", "roles": ["app", "web", "worker", "cache"]},
        },
        "projects": {"shop": project},
    }
    found = {
        name: {
            chunk["__sls__"]
            for chunk in Rendering(minion_opts, grains(id=name), {"django": pillar}).low
        }
        for name in pillar["hosts"]
    }
    shared = {"django.valid", "django.host", "django.host.secrets", "django.app.departed"}
    assert found["host1"] == {*shared, "django.database.postgresql"}
    assert "django.database.postgresql" not in found["host2"]
    assert found["host2"] > {*shared, "django.cache.redis", "django.web.nginx"}


def test_a_host_that_makes_backups_runs_nothing_else(minion_opts):
    project = {"source": {"path": "/srv/src"}, "database": {"password": "x" * 20}}
    project.update(cache={"engine": "none"}, secrets={"SECRET_KEY": "y" * 50})
    project.update(uid=900)
    pillar = {
        "backup": {"repository": "sftp:shop@192.0.2.9:/srv/backup", "password": CANARY},
        "hosts": {
            "host1": {"address": "10.0.0.11", "roles": ["media", "backup"]},
            "host2": {"address": "10.0.0.12", "roles": ["app", "web", "database"]},
        },
        "projects": {"shop": project},
    }
    rendering = Rendering(minion_opts, grains(), {"django": pillar})
    assert rendering.errors == []
    assert {chunk["__sls__"] for chunk in rendering.low} == {
        "django.valid",
        "django.host",
        "django.host.secrets",
        "django.media.nfs",
        "django.backup.restic",
        "django.app.departed",
    }
    assert CANARY not in str(rendering.low)


def test_a_monitor_and_those_that_answer_it(minion_opts):
    pillar = {**balanced(), "monitor": {"retention": "90d"}}
    pillar["hosts"]["mon1"] = {"address": "10.0.0.41", "roles": ["monitor"]}
    monitor = Rendering(minion_opts, grains(id="mon1"), {"django": pillar})
    assert monitor.errors == []
    files = monitor.files()
    told = yaml.safe_load(files["/etc/prometheus/prometheus.yml"])
    assert [job["job_name"] for job in told["scrape_configs"]] == [
        "prometheus",
        "hosts",
        "site shop",
    ]
    assert "shop" in yaml.safe_load(files["/etc/prometheus/blackbox.yml"])["modules"]
    assert "--storage.tsdb.retention.time=7776000s" in files["/etc/default/prometheus"]
    other = Rendering(minion_opts, grains(id="host1"), {"django": pillar})
    exporter = other.files()["/etc/default/prometheus-node-exporter"]
    assert exporter.endswith('ARGS="--web.listen-address=10.0.0.11:9100"\n')
    assert "/etc/prometheus/prometheus.yml" not in other.files()
    before = other.ids().index("the exporter has its address")
    assert before < other.ids().index("packages are installed")


def test_a_host_without_roles_has_the_firewall_alone(minion_opts):
    pillar = balanced()
    pillar["firewall"] = {}
    pillar["hosts"]["host0"] = {"address": "10.0.0.10", "roles": []}
    rendering = Rendering(minion_opts, grains(id="host0"), {"django": pillar})
    assert not rendering.errors
    found = {chunk["__sls__"] for chunk in rendering.low}
    assert found == {"django.valid", "django.host", "django.host.firewall", "django.app.departed"}


def balanced():
    """The pillar of a balancer and two web hosts."""
    password = {"password": "x" * 20}
    project = {"source": {"path": "/srv/src"}, "database": password, "cache": password}
    project.update(secrets={"SECRET_KEY": "y" * 50}, domains=["shop.example.org", "*.shop.net"])
    project.update(health={"path": "/up/"}, web={"trusted_proxies": ["192.0.2.1"]})
    return {
        "hosts": {
            "host1": {"address": "10.0.0.11", "roles": ["balancer"]},
            "host2": {"address": "10.0.0.12", "roles": ["app", "web", "database", "cache"]},
            "host3": {"address": "10.0.0.13", "roles": ["app", "web"]},
        },
        "projects": {"shop": project},
    }


def test_a_balancer_has_haproxy_alone(minion_opts):
    pillar = balanced()
    rendering = Rendering(minion_opts, grains(), {"django": pillar})
    shared = {"django.valid", "django.host", "django.app.departed"}
    assert {chunk["__sls__"] for chunk in rendering.low} == {*shared, "django.balancer.haproxy"}
    lines = [line.strip() for line in rendering.files()["/etc/haproxy/haproxy.cfg"].splitlines()]
    assert "acl shop req.hdr(host),field(1,:) -i -m str shop.example.org" in lines
    assert "acl shop req.hdr(host),field(1,:) -i -m end .shop.net" in lines
    assert "acl trusted src 192.0.2.1" in lines
    assert "server host2 10.0.0.12:80" in lines and "server host3 10.0.0.13:80" in lines
    (question,) = (line for line in lines if line.startswith("http-check send"))
    assert "uri /up/ " in question and "hdr Host shop.example.org" in question


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_balancer_may_be_varnish_and_have_an_address_with_another(minion_opts, system):
    pillar = balanced()
    pillar["hosts"]["host4"] = {"address": "10.0.0.14", "roles": ["balancer"]}
    pillar["balancer"] = {"server": "varnish", "floating": {"address": "10.0.0.100"}}
    interfaces = {"ip4_interfaces": {"ens3": ["10.0.0.11"]}}
    rendering = Rendering(minion_opts, grains(system, **interfaces), {"django": pillar})
    assert rendering.errors == []
    tiers = {chunk["__sls__"] for chunk in rendering.low}
    assert {"django.web.varnish", "django.balancer.varnish", "django.balancer.keepalived"} < tiers
    assert "django.balancer.haproxy" not in tiers
    files = rendering.files()
    rules = files["/etc/varnish/balancer.vcl"]
    assert [line.split('"')[1] for line in rules.splitlines() if ".host = " in line] == [
        "10.0.0.12",
        "10.0.0.13",
    ]
    assert '"192.0.2.1";' in rules and 'X-Django-Name ~ "[.]shop[.]net$"' in rules
    address = files["/etc/keepalived/keepalived.conf"]
    assert "10.0.0.100 dev ens3" in address and "unicast_src_ip 10.0.0.11" in address


def test_a_media_server_has_nfs_alone(minion_opts):
    password = {"password": "x" * 20}
    project = {"source": {"path": "/srv/src"}, "database": password, "cache": password, "uid": 900}
    project.update(secrets={"SECRET_KEY": "y" * 50})
    pillar = {
        "hosts": {
            "host1": {"address": "10.0.0.11", "roles": ["media"]},
            "host2": {"address": "10.0.0.12", "roles": ["app", "web", "database", "cache"]},
            "host3": {"address": "10.0.0.13", "roles": ["worker"]},
        },
        "projects": {"shop": project},
    }
    rendering = Rendering(minion_opts, grains(), {"django": pillar})
    shared = {"django.valid", "django.host", "django.app.departed"}
    assert {chunk["__sls__"] for chunk in rendering.low} == {*shared, "django.media.nfs"}
    files = rendering.files()
    assert "Bind_addr = 10.0.0.11;" in files["/etc/ganesha/ganesha.conf"]
    lines = [line.strip() for line in files["/etc/ganesha/exports.conf"].splitlines()]
    assert "Clients = 10.0.0.12, 10.0.0.13;" in lines and "Export_Id = 900;" in lines
    assert "Squash = Root_Squash;" in lines and "Access_Type = None;" in lines
    owned = {
        chunk["name"]: (chunk["user"], chunk["group"], chunk["mode"])
        for chunk in rendering.low
        if (chunk["state"], chunk["__id__"]) == ("file", "shop: uploads belong to the project")
    }
    assert owned == {"/srv/media/shop/media": (900, "www-data", "2750")}


@pytest.mark.parametrize("server", ["nginx", "apache"])
def test_ports_are_handed_over_before_they_are_taken(minion_opts, server):
    password = {"password": "x" * 20}
    project = {"source": {"path": "/srv/src"}, "database": password, "cache": password}
    project.update(secrets={"SECRET_KEY": "y" * 50}, domains=["shop.example.org"])
    project["web"] = {"server": server}
    roles = {"host1": ["balancer"], "host2": ["app", "web", "database", "cache"]}
    hosts = {name: {"address": f"10.0.0.1{name[-1]}", "roles": roles[name]} for name in roles}
    pillar = {"django": {"hosts": hosts, "projects": {"shop": project}}}
    for host, taker, givers in (
        ("host1", "haproxy", ["nginx", "apache2"]),
        ("host2", server.replace("apache", "apache2"), ["haproxy"]),
    ):
        low = Rendering(minion_opts, grains(id=host), pillar).low
        order = {(chunk["fun"], chunk["name"]): chunk["order"] for chunk in low}
        for giver in givers:
            assert order["service_dead", giver] < order["service_running", taker]


def test_a_balancer_has_the_certificates_and_no_secret_of_them(minion_opts, system):
    password = {"password": "x" * 20}
    project = {"source": {"path": "/srv/src"}, "database": password, "cache": password}
    project.update(secrets={"SECRET_KEY": "y" * 50}, domains=["shop.example.org"])
    tls = {"certificate": "/etc/ssl/shop.pem", "key": "/etc/ssl/private/shop.key", "hsts": "1d"}
    pillar = {
        "hosts": {
            "host1": {"address": "10.0.0.11", "roles": ["balancer"]},
            "host2": {"address": "10.0.0.12", "roles": ["app", "web", "database", "cache"]},
        },
        "projects": {"shop": {**project, "web": {"tls": tls}}},
    }
    balancer = Rendering(minion_opts, grains(system), {"django": pillar})
    assert balancer.errors == []
    links = {chunk["name"]: chunk["target"] for chunk in balancer.low if chunk["fun"] == "symlink"}
    assert links == {
        "/etc/haproxy/tls/shop.pem": "/etc/ssl/shop.pem",
        "/etc/haproxy/tls/shop.pem.key": "/etc/ssl/private/shop.key",
    }
    files = balancer.files()
    assert (
        files["/etc/haproxy/certificates.list"].splitlines()[1]
        == "/etc/haproxy/tls/shop.pem shop.example.org"
    )
    assert "strict-sni alpn h2,http/1.1" in files["/etc/haproxy/haproxy.cfg"]
    assert "ssl-min-ver TLSv1.2 no-tls-tickets" in files["/etc/haproxy/haproxy.cfg"]
    behind = Rendering(minion_opts, grains(system, id="host2"), {"django": pillar}).files()
    assert "ssl_certificate" not in behind["/etc/nginx/django.d/shop.conf"]
    assert "default https;" in behind["/etc/nginx/django.d/shop.conf"]


@pytest.mark.parametrize(("name", "role"), [("host1", "database"), ("host2", "replica")])
def test_servers_of_a_database_with_a_replica(minion_opts, system, name, role):
    password = {"password": CANARY}
    project = {"source": {"path": "/srv/src"}, "database": password, "cache": password}
    pillar = {
        "hosts": {
            "host1": {"address": "10.0.0.11", "roles": ["database"]},
            "host2": {"address": "10.0.0.12", "roles": ["replica"]},
            "host3": {"address": "10.0.0.13", "roles": ["app", "cache"]},
        },
        "postgresql": {"replication": {"password": CANARY, "synchronous": True}},
        "projects": {"shop": {**project, "secrets": {"SECRET_KEY": CANARY * 3}}},
    }
    rendering = Rendering(minion_opts, grains(system, id=name), {"django": pillar})
    assert rendering.errors == []
    assert CANARY not in str(rendering.high) + str(rendering.files())
    by_id = {chunk["__id__"]: chunk for chunk in rendering.low}
    is_replica = role == "replica"
    assert ("this host follows host1" in by_id) == is_replica
    assert ("replicas may follow" in by_id) != is_replica
    assert ("shop: database default is there" in by_id) != is_replica
    files = rendering.files()
    (unit,) = (text for path, text in files.items() if path.endswith("main.service.d/django.conf"))
    peer = "host1=10.0.0.11" if is_replica else "host2=10.0.0.12"
    assert re.search(
        rf"\nExecStartPre=\S+/check-primary \d+ 5432 /etc/postgresql/\S+ {peer}\n", unit
    )
    (settings,) = (text for path, text in files.items() if path.endswith("20-django-reload.conf"))
    assert ("primary_slot_name = 'django_host2'" in settings) == is_replica
    script = files["/usr/local/lib/django-formula/check-primary"]
    checked = subprocess.run([SHELLCHECK, "-"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stdout


def test_one_host_tells_a_balancer_of_somebody_else(minion_opts):
    pillar = balanced()
    pillar["hosts"]["host1"]["roles"] = ["worker"]
    pillar["balancer"] = {"external": {"from": ["192.0.2.0/24"], "hook": ["/bin/tell"]}}
    state = "the balancer in front knows its backends"
    for name in pillar["hosts"]:
        rendering = Rendering(minion_opts, grains(id=name), {"django": pillar})
        assert rendering.errors == []
        ids = rendering.ids()
        assert state in ids
        if name != "host1":
            assert ids.index(state) > ids.index("Nginx runs")
    del pillar["balancer"]["external"]["hook"]
    assert state not in Rendering(minion_opts, grains(), {"django": pillar}).ids()


def test_web_hosts_are_targets_once_they_serve(minion_opts):
    pillar = balanced()
    pillar["hosts"]["host1"]["roles"] = ["worker"]
    group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop/73e2d6"
    aws = {"target_groups": [group], "access_key": "AKIA1", "secret_key": CANARY}
    pillar["balancer"] = {"external": {"aws": aws}}
    state = "this host is a target of the balancer in front"
    rendering = Rendering(minion_opts, grains(id="host2"), {"django": pillar})
    assert rendering.errors == [] and CANARY not in str([rendering.high, rendering.low])
    ids = rendering.ids()
    assert ids.index("boto3 is installed") < ids.index("Nginx runs") < ids.index(state)
    assert state not in Rendering(minion_opts, grains(), {"django": pillar}).ids()


@pytest.mark.parametrize("server", ["gunicorn", "mod_wsgi"])
def test_a_static_host_has_releases_of_which_nothing_runs(minion_opts, system, server):
    pillar = balanced()
    pillar["hosts"]["host4"] = {"address": "10.0.0.14", "roles": ["static"]}
    pillar["projects"]["shop"].update(
        static={"domains": ["static.shop.example.org"]},
        app={"server": server},
        media={"s3": {"bucket": "shop-media"}},
        superuser={"username": "eve", "password": CANARY},
    )
    pillar["projects"]["shop"]["database"] = {
        "host": "192.0.2.7",
        "name": "shop",
        "user": "shop",
        "password": CANARY,
    }
    rendering = Rendering(minion_opts, grains(system, id="host4"), {"django": pillar})
    assert rendering.errors == []
    assert {chunk["__sls__"] for chunk in rendering.low} == {
        "django.valid",
        "django.host",
        "django.host.secrets",
        "django.app.users",
        "django.app.timers",
        "django.app.logs",
        "django.app.project",
        "django.web.nginx",
        "django.app.departed",
    }
    steps = [
        chunk["__id__"].removeprefix("shop: ")
        for chunk in rendering.low
        if chunk["__sls__"] == "django.app.project" and chunk["state"] == "django"
    ]
    assert steps == [
        "source is fetched",
        "packages are installed",
        "release is built",
        "release is configured",
        "release is checked",
        "static files are published",
        "release is live",
        "processes run",
        "what runs is verified",
        "old releases are gone",
    ]
    order = rendering.ids()
    assert order.index("shop: release is live") < order.index("shop.static: Nginx serves it")
    assert list(rendering.modules["django.config"]()["nginx"]["sites"]) == ["shop.static"]
    assert CANARY not in str(rendering.low) + str(rendering.files())
    balancer = Rendering(minion_opts, grains(system), {"django": pillar})
    assert balancer.errors == []
    assert "server host4 10.0.0.14:80" in balancer.files()["/etc/haproxy/haproxy.cfg"]
