"""
States of what a host needs around its projects: databases, files with secrets, tools, services.

One with ``django.py`` to Salt.
"""

import django_states

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _apply(state_name, function, **arguments):
    """The result of a step: compare, stop there in test mode, act, report what changed."""
    return django_states.apply(state_name, __salt__[function], __opts__["test"], arguments)


@django_states.of_words
def database_present(name, project, alias="default"):
    """
    A project's role, database and privileges are in this host's PostgreSQL or MariaDB, in
    PostgreSQL its extensions, too.

    .. code-block:: yaml

        "shop: database is there":
          django.database_present:
            - project: shop
            - alias: default
    """
    return _apply(name, "django.ensure_database", project=project, alias=alias)


@django_states.of_words
def database_version_kept(name):
    """
    No other major version of PostgreSQL is set up beside the one that this host's data is in.

    .. code-block:: yaml

        PostgreSQL is the one with the data:
          django.database_version_kept: []
    """
    return _apply(name, "django.keep_database_version")


@django_states.of_words
def number_settled(name, user, number):
    """
    A system user and its group that are there have this number; one that differs is not changed.

    .. code-block:: yaml

        "shop: number of its user is settled":
          django.number_settled:
            - user: shop
            - number: 900
    """
    return _apply(name, "django.settle_number", user=user, number=number)


@django_states.of_words
def secret_file(name, source, project, context=None, user="root", group="root", mode="0640"):
    """
    A file made from a template and a project's secrets; its content is never shown.

    .. code-block:: yaml

        /etc/redis/shop.acl:
          django.secret_file:
            - source: salt://django/cache/files/etc/redis/users.acl.j2
            - project: shop
            - user: redis
            - group: redis
            - mode: "0640"
    """
    return _apply(
        name,
        "django.write_secret_file",
        name=name,
        source=source,
        project=project,
        context=context,
        user=user,
        group=group,
        mode=mode,
    )


@django_states.of_words
def tool_installed(name, requirements):
    """
    A virtual environment holds exactly the packages that a lock file pins, checked by their hashes.

    .. code-block:: yaml

        /opt/django-formula/uv:
          django.tool_installed:
            - requirements: salt://django/host/files/uv.lock
    """
    return _apply(name, "django.install_tool", name=name, requirements=requirements)


@django_states.of_words
def service_running(name, enable=None, reload=False, follows=()):
    """
    A service of this host runs and has read its files. It restarts when a state that it watches
    changes, or when a file of ``follows`` has changed since it read it, as a run that was killed in
    between leaves it; with ``reload`` it only reads its configuration again.

    .. code-block:: yaml

        nginx:
          django.service_running:
            - enable: True
            - reload: True
            - follows: [/etc/nginx/nginx.conf]
            - watch:
              - file: /etc/nginx/nginx.conf
    """
    how = {"enable": enable, "reload": reload, "follows": follows}
    return _apply(name, "django.run_service", name=name, **how)


@django_states.of_words
def service_reloaded(name, follows=(), restarts_for=()):
    """
    A service of this host has read its configuration again when a state that this one watches has
    changed, or a file of ``follows`` since it last did so. A change of ``restarts_for`` is left to
    the state that restarts it.

    .. code-block:: yaml

        postgresql:
          django.service_reloaded:
            - follows: [/etc/postgresql/15/main/pg_hba.conf]
            - watch:
              - file: /etc/postgresql/15/main/pg_hba.conf
    """
    how = {"reload": True, "follows": follows, "restarts_for": restarts_for}
    return _apply(name, "django.renew_service", name=name, **how)


@django_states.of_words
def service_dead(name, enable=None, configured=None):
    """
    A service of this host does not run. With ``configured``, a file, only one is meant for which
    this formula wrote it: another one of that name is left alone.

    .. code-block:: yaml

        redis-server:
          django.service_dead:
            - enable: False
    """
    return _apply(name, "django.end_service", name=name, enable=enable, configured=configured)


def mod_watch(name, sfun=None, reload=False, follows=(), **_):
    """
    What a ``watch`` requisite of a service does; other states only wait for what they watch. A
    service that has been started since the change, such as by its own package, has read it.
    """
    if sfun not in ("service_running", "service_reloaded"):
        return {"name": name, "result": True, "changes": {}, "comment": "Nothing to restart."}
    reload = reload or sfun == "service_reloaded"
    unread = None if __opts__["test"] or not follows else follows
    outcome = _apply(name, "django.renew_service", name=name, reload=reload, follows=unread)
    if outcome["result"] and not outcome["changes"]:
        outcome.update(changes={name: "started"}, comment=f"{name} has started with what changed.")
    return outcome


@django_states.of_words
def certificates_usable(name):
    """
    The certificates that the pillar names for this balancer are on it with their keys, which
    nobody but root and its group can read. Nothing is changed.

    .. code-block:: yaml

        certificates of the balancer can be used:
          django.certificates_usable: []
    """
    return _apply(name, "django.check_certificates")


@django_states.of_words
def statistics_guarded(name):
    """
    HAProxy's page of statistics has a password, the pillar's or one that is generated once; it is
    never shown.

    .. code-block:: yaml

        statistics of the balancer have a password:
          django.statistics_guarded: []
    """
    return _apply(name, "django.guard_statistics")


@django_states.of_words
def drained_kept(name):
    """
    Hosts that were drained from this balancer's pool get no requests, which each run tells; those
    that left the map are forgotten.

    .. code-block:: yaml

        drained hosts stay out of the pool:
          django.drained_kept: []
    """
    return _apply(name, "django.keep_drained")


@django_states.of_words
def pull_configured(name):
    """
    The command ``django-pull`` knows what the pillar says in ``pull``: which repositories to fetch,
    and who must have signed what is applied.

    .. code-block:: yaml

        what to pull is known:
          django.pull_configured: []
    """
    return _apply(name, "django.configure_pull")


@django_states.of_words
def firewall_active(name):
    """
    The rules of nftables are those of the pillar's ``firewall`` and of the host's roles, now and
    after a boot. A host with an operator or a Salt that would be locked out is left as it is.

    .. code-block:: yaml

        the firewall is active:
          django.firewall_active: []
    """
    return _apply(name, "django.apply_firewall")
