"""Connections that lists are read on: a page ends at so much text, and what would not go into it is not taken from disk."""

from __future__ import annotations

import contextlib
from typing import Any

import apsw

from headway.store.database import first_of
from headway.store.sqlite.connection import STATEMENTS, SqliteDatabase, decoded_rows, translated


class SqliteReading(SqliteDatabase):
    """One connection to one file, also for what may be large."""

    def interrupt(self) -> None:
        """Interrupt the running statement; callable from any thread."""
        self.connection.interrupt()

    def rows_within(self, bytes_max: int, name: str, /, **binds: Any) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the first rows of a named statement, up to so much text, and whether that has cut them off."""
        return self._within(bytes_max, STATEMENTS[name], binds)

    def select_within(self, bytes_max: int, sql: str, binds: dict[str, Any]) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the first rows of a list's statement, up to so much text, and whether that has cut them off."""
        return self._within(bytes_max, sql, binds)

    def _within(self, bytes_max: int, sql: str, binds: dict[str, Any]) -> tuple[list[tuple[Any, ...]], bool]:
        try:
            try:
                cursor = self.connection.execute(sql, binds)
                try:
                    return first_of(bytes_max, cursor)
                finally:
                    cursor.close()  # an unfinished statement would hold its snapshot, and keep the WAL from shrinking
            except UnicodeDecodeError:
                with contextlib.closing(decoded_rows(self.connection, sql, binds)) as rows:
                    return first_of(bytes_max, rows)
        except apsw.Error as error:
            raise translated(error) from error
