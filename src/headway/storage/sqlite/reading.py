"""Connections that lists are read on: a page ends at so much text, and what would not go into it is not taken from disk."""

from __future__ import annotations

from typing import Any

import apsw

from headway.storage.database import bytes_of
from headway.storage.sqlite.connection import STATEMENTS, SqliteDatabase, translated


class SqliteReading(SqliteDatabase):
    """One connection to one file, also for what may be large."""

    def interrupt(self) -> None:
        """End the statement that is carried out just now; from any thread."""
        self.connection.interrupt()

    def rows_within(self, bytes_max: int, name: str, /, **binds: Any) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the first rows of a named statement, up to so much text, and whether that has cut them off."""
        return self._within(bytes_max, STATEMENTS[name], binds)

    def select_within(self, bytes_max: int, sql: str, binds: dict[str, Any]) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the first rows of a list's statement, up to so much text, and whether that has cut them off."""
        return self._within(bytes_max, sql, binds)

    def _within(self, bytes_max: int, sql: str, binds: dict[str, Any]) -> tuple[list[tuple[Any, ...]], bool]:
        found: list[tuple[Any, ...]] = []
        left = bytes_max
        try:
            cursor = self.connection.execute(sql, binds)
            try:
                for row in cursor:
                    left -= bytes_of(row)
                    if left < 0 and found:
                        return found, True
                    found.append(row)
            finally:
                cursor.close()  # a statement that is left halfway would hold its snapshot, and with it the log
        except apsw.Error as error:
            raise translated(error) from error
        return found, False
