"""Verifies the rows of a store on PostgreSQL; its pages are the database's own affair."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
from psycopg import IsolationLevel

from headway.ids import Signer
from headway.storage.postgres.connection import STATEMENTS
from headway.storage.verify import Finding, findings

FETCHED: Final = 2_000
"""Rows that are in memory at once."""


def verify(connection: psycopg.Connection[tuple[Any, ...]], signers: Sequence[Signer] = ()) -> list[Finding]:
    """Return everything that is wrong; all of it is read in one transaction, of which servers take no notice."""
    numbers = itertools.count()

    def read(name: str, /, **binds: Any) -> Iterable[Any]:
        with connection.cursor(name=f"verify_{next(numbers)}") as cursor:
            cursor.itersize = FETCHED
            yield from cursor.execute(STATEMENTS[name], binds)

    # Whatever the connection was made for, this may take long.
    level, connection.isolation_level = connection.isolation_level, IsolationLevel.REPEATABLE_READ
    try:
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            return list(findings(read, signers))
    finally:
        connection.isolation_level = level
