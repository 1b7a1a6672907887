"""Read-only queries to the database of an installation, without Django."""

import sqlite3
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg2


def query(database_url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run a query without changing the database; `?` is a placeholder on both databases."""
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(f"file:{urlsplit(database_url).path}?mode=ro", uri=True, timeout=20)) as file:
            return file.execute(sql, values).fetchall()
    with closing(psycopg2.connect(database_url)) as connection:
        connection.set_session(readonly=True)
        with connection.cursor() as cursor:
            cursor.execute(sql.replace("%", "%%").replace("?", "%s"), values)
            return list(cursor.fetchall())
