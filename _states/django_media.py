"""
States of what serves a project's files besides its own host. One module with ``django.py`` to Salt.

.. code-block:: yaml

    "shop: CDN forgets what changed":
      django.cdn_invalidated:
        - project: shop
"""

import django_states

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


@django_states.of_words
def share_mounted(name, project):
    """
    The shared drive for a project's uploads is mounted, now and after a boot.

    .. code-block:: yaml

        "shop: shared drive is mounted":
          django.share_mounted:
            - project: shop
    """
    function = __salt__["django.mount_share"]
    return django_states.apply(name, function, __opts__["test"], {"project": project})


@django_states.of_words
def media_ready(name, project):
    """
    The release can write uploads to the bucket that the pillar names, and read them.

    .. code-block:: yaml

        "shop: uploads have their bucket":
          django.media_ready:
            - project: shop
    """
    function = __salt__["django.try_media"]
    return django_states.apply(name, function, __opts__["test"], {"project": project})


@django_states.of_words
def cdn_invalidated(name, project):
    """
    The CDN holds no older content of static files that changed under the same name.

    .. code-block:: yaml

        "shop: CDN forgets what changed":
          django.cdn_invalidated:
            - project: shop
    """
    function = __salt__["django.invalidate_cdn"]
    return django_states.apply(name, function, __opts__["test"], {"project": project})


@django_states.of_words
def uploads_given_out(name):
    """
    This host's NFS server gives out the folder of each project whose uploads are on it.

    .. code-block:: yaml

        uploads are given out:
          django.uploads_given_out: []
    """
    return django_states.apply(name, __salt__["django.give_out_uploads"], __opts__["test"], {})
