"""
What serves a project's files besides its own host: a shared drive or a bucket for uploads,
a CDN for static files; the server of the fleet's uploads.

One module with ``django.py`` to Salt.
"""

import django_access
import django_exports
import django_step_cdn
import django_step_media
import django_step_share
from django_run import CommandError
from django_service import ServiceError
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def mount_share(project, test=False):
    """
    Mount the shared drive for a project's uploads, and let its folders be the project's.

    CLI Example:

    .. code-block:: bash

        salt-call django.mount_share shop
    """
    return _access().step(project, django_step_share.mount, test)


def try_media(project, test=False):
    """
    Write an object to the bucket for uploads, read it and remove it, once for each instance.

    CLI Example:

    .. code-block:: bash

        salt-call django.try_media shop
    """
    return _access().step(project, django_step_media.ready, test)


def invalidate_cdn(project, test=False):
    """
    Tell the CDN to forget static files that changed under the same name since it was told last.

    CLI Example:

    .. code-block:: bash

        salt-call django.invalidate_cdn shop
    """
    return _access().step(project, django_step_cdn.invalidate, test)


def give_out_uploads(test=False):
    """
    See that this host's NFS server gives out the folder of each project, as the map has it.

    CLI Example:

    .. code-block:: bash

        salt-call django.give_out_uploads
    """
    wanted = _access().valid()["nfs"]
    if not wanted:
        raise CommandExecutionError("This host is not the one with the fleet's uploads")
    paths = [export["path"] for export in wanted["exports"]]
    if test:
        return {"changes": {}, "comment": "The server would be asked."}
    try:
        django_exports.wait_for(paths)
    except (CommandError, ServiceError) as error:
        raise CommandExecutionError(str(error)) from None
    return {"changes": {}, "comment": f"{', '.join(paths)} are given out."}
