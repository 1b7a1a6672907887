"""Which database this process uses."""

from functools import cache

from django.db import connection


@cache
def get_vendor() -> str:
    """Return `postgresql` or `sqlite`. To ask `connection`, a proxy, takes eight calls, and each email asks ten times."""
    return connection.vendor
