"""What a long step is told to be at."""

import logging

import django_progress
import pytest

PRINTED = """\
Operations to perform:
  Apply all migrations: admin, shop
Running migrations:
  Applying admin.0001_initial... OK
  Applying shop.0002_price..."""


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("", None),
        ("Operations to perform:\n  Apply all migrations: shop\n", None),
        (PRINTED, "shop.0002_price"),
        (f"{PRINTED} OK\n", "shop.0002_price"),
        (f"{PRINTED}the customers' names\n", "shop.0002_price"),
        (f"{PRINTED}tries again: lock timeout\n", "shop.0002_price, which waits for a lock"),
        (
            f"{PRINTED}tries again: lock timeout\n OK\n  Applying shop.0003_name...",
            "shop.0003_name",
        ),
        ("  Unapplying shop.0002_price...", "shop.0002_price"),
        ("pplying shop.0002_price... OK\n  Applying shop.0003_name...", "shop.0003_name"),
    ],
)
def test_migration_that_django_is_at(printed, said):
    assert django_progress.migration(printed) == said


def test_each_is_told_once_and_nothing_else_that_is_printed(caplog):
    caplog.set_level(logging.INFO)
    teller = django_progress.Teller(django_progress.migration)
    for printed in (
        "a row of data\n",
        PRINTED,
        PRINTED,
        f"{PRINTED} OK\n  Applying shop.0003_x...",
    ):
        teller(printed)
    assert caplog.messages == ["shop.0002_price", "shop.0003_x"]
