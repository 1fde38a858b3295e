"""Verifies the rows of a store on PostgreSQL; its pages are the database's own affair."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import IsolationLevel, sql

from headway.ids import Signer
from headway.store.postgres.connection import STATEMENTS, Legible
from headway.store.verify import Finding, Read, RowCheck, Rows, documents_of, findings, unreadable

FETCHED: Final = 2_000
"""Rows that are in memory at once."""


def verify(
    connection: psycopg.Connection[tuple[Any, ...]], signers: Sequence[Signer] = (), checks: Sequence[RowCheck] = ()
) -> list[Finding]:
    """Return everything that is wrong, also by the `checks` of features; all of it is read in one transaction, of which servers take no notice."""
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
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
            ).fetchall()
            documents = documents_of(checks)
            damaged = [
                found
                for (name,) in tables
                for found in unreadable(name, partial(_rows, connection, name), documents.get(name, ()))
            ]
            return damaged or list(findings(Read(read, signers), checks))  # damaged values would break the comparisons
    finally:
        connection.isolation_level = level


def _rows(connection: psycopg.Connection[tuple[Any, ...]], table: str, decode_text: bool) -> Rows:
    with connection.cursor(name=f"read_{table}") as cursor:
        if decode_text:
            cursor.adapters.register_loader("text", Legible)
        cursor.itersize = FETCHED
        cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
        names = [column.name for column in cursor.description or ()]
        for row in cursor:
            yield dict(zip(names, row, strict=True))
