"""Numbers kept in the cache. The page must survive a cache that is down, so none of these raise."""

import logging

from django.core.cache import cache

from guestbook.models import Entry

logger = logging.getLogger(__name__)

ENTRIES = "entries"
HITS = "hits"
ENTRIES_SECONDS = 30


def visible_entries():
    return Entry.objects.filter(is_spam=False)


def count_entries():
    """How many entries are shown: from the cache if it is there, else from the database."""
    try:
        count = cache.get(ENTRIES)
        if count is None:
            count = visible_entries().count()
            cache.set(ENTRIES, count, ENTRIES_SECONDS)
        return count
    except Exception as error:
        # The driver decides what it raises; a failing database raises again below.
        logger.warning("The cache is unavailable (%s).", type(error).__name__)
        return visible_entries().count()


def forget_entries():
    try:
        cache.delete(ENTRIES)
    except Exception as error:
        logger.warning("The cache is unavailable (%s).", type(error).__name__)


def count_hit():
    """Add one to the number of page views and return it, or None without a working cache."""
    try:
        cache.add(HITS, 0, timeout=None)
        return cache.incr(HITS)
    except Exception as error:
        logger.warning("The cache is unavailable (%s).", type(error).__name__)
        return None
