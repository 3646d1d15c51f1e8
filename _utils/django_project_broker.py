"""Broker of a project: the Redis that keeps its queues, apart from its cache."""

import hashlib

import django_project_cache
import django_queue

BROKER_PORTS = (7380, 600)  # after those of the caches, before 8000


def broker_port(name):
    """The broker's port of a project: a fixed function of its name, between 7380 and 7979."""
    first, count = BROKER_PORTS
    return first + int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % count


def engine(given):
    """The engine: the pillar's, else redis where a host or a worker's or scheduler's kind is given.

    given: the project's validated pillar.
    """
    queued = any(django_queue.kind(entry) for entry in given["processes"].values())
    return given["broker"]["engine"] or ("redis" if queued or given["broker"]["host"] else "none")


def is_managed(given):
    """Whether the formula runs the broker's server. given: the project's validated pillar."""
    return engine(given) == "redis" and not given["broker"]["host"]


def resolve(name, given, fleet, host):
    """The broker (dict): ``local`` is on this host, ``managed`` is run by the formula.

    given: the project's validated pillar.
    """
    if engine(given) != "redis":
        return {"engine": "none", "local": False, "managed": False}
    # A queue that drops jobs when it is full would be none.
    entry = {**given["broker"], "policy": "noeviction"}
    return django_project_cache.redis(entry, broker_port(name), fleet["cache_host"], host)
