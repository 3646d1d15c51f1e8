"""What a host is at that rules out what its pillar asks for, though that is right by itself."""

import django_layout
import django_mod_wsgi

NAMES = {True: "embedded", False: "daemon"}


def conflicts(config):
    """
    What stands against the pillar (list of str), as of :func:`modes`.

    config
        The configuration of this host.
    """
    if "app" not in config["host"]["roles"]:
        return []
    return [text for project in config["projects"].values() for text in modes(project)]


def modes(project):
    """
    A project that serves by the one mode of mod_wsgi and is to have the other. Apache is configured
    for one, so the site would be away until the release is live, and for good if it fails.
    """
    if project["app"]["server"] != "mod_wsgi":
        return
    layout = django_layout.Layout(project["paths"])
    live = layout.live_instance()
    web = layout.instance_record(live).get("definitions", {}).get("web", {}) if live else {}
    wanted, found = django_mod_wsgi.embeds(project["app"]), django_mod_wsgi.is_embedded(web)
    if (found or django_mod_wsgi.is_spoken(web)) and found != wanted:
        yield (
            f"django:projects:{project['name']}:app:mode: expected {NAMES[found]}, by which the"
            " site serves, or another app:server first, such as gunicorn: Apache cannot have both"
            " modes at once, and the site would be away for as long as a release takes"
        )
