"""Driver settings under which a value that Python has no type for does not fail the whole result.

SQLite may have texts that are no UTF-8, and so may a PostgreSQL database without an encoding (SQL_ASCII). PostgreSQL also has
dates outside of Python's (`infinity`, years before 1 and after 9999). Such values are read as texts, which `cells` finds
invalid for their field. PyMySQL needs no settings.
"""

from __future__ import annotations

from typing import Any, Final

_DATES: Final = {"date": "DateLoader", "timestamp": "TimestampLoader", "timestamptz": "TimestamptzLoader"}
"""Loader of psycopg by type of PostgreSQL."""
_TEXTS: Final = ("text", "varchar", "bpchar", "name", '"char"')


def prepare_sqlite(connection: Any, _record: Any) -> None:
    """Set up a connection to a SQLite file."""
    # A file may come from anyone: its views and triggers call no functions that have effects.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.text_factory = _text


def limit_mysql(seconds: int, connection: Any, _record: Any) -> None:
    """Have the server end statements after `seconds`, by MariaDB's variable or MySQL's, which is for queries alone.

    A client that stops reading leaves its query running.
    """
    limits = f"SET SESSION max_statement_time = {seconds}", f"SET SESSION max_execution_time = {seconds * 1000}"
    with connection.cursor() as cursor:
        for limit in limits:
            try:
                cursor.execute(limit)
            except connection.OperationalError:  # the other server's variable
                continue
            return


def prepare_postgresql(connection: Any) -> None:
    """Set up a connection to PostgreSQL."""
    from psycopg.adapt import Loader  # noqa: PLC0415 - an extra
    from psycopg.types import datetime as native  # noqa: PLC0415

    for name, loader in _DATES.items():
        connection.adapters.register_loader(name, _lenient(getattr(native, loader)))
    if (
        connection.info.parameter_status("client_encoding") == "SQL_ASCII"
    ):  # texts would be bytes, also names of columns
        for name in _TEXTS:
            loads = {"load": lambda _, octets: _text(bytes(octets))}
            connection.adapters.register_loader(name, type("TextLoader", (Loader,), loads))


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _lenient(native: type) -> type:
    """Return a loader that falls back to the database's text where `native` fails."""
    from psycopg import DataError  # noqa: PLC0415 - an extra

    def load(self: Any, data: Any) -> Any:
        try:
            return native.load(self, data)  # type: ignore[attr-defined]
        except DataError:
            return bytes(data).decode()

    return type(native.__name__, (native,), {"load": load})
