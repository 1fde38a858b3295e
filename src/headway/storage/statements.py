"""Reads named statements out of the .sql files, and spells their macros in a dialect.

A statement is plain SQL with `:name` binds. What the dialects say differently is a macro:

    @rows(id text, count bigint)   a JSON array of arrays, bound as :rows, as a table with these columns
    @ids                           a JSON array of texts, bound as :ids, as a subquery
    @run_columns, @run_columns(r)  the columns of a run, in the order of model.run.Run
    @lock, @skip_locked(runs)      row locks, where several may write
    @use(runs_due)                 the index to use, where the planner cannot know better
    @strict, @serial               in the schema: strict typing; a number that only rises
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from headway.model.run import Run

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MACRO: Final = re.compile(r"@(\w+)(?:\(([^()]*)\))?")
RUN_COLUMNS: Final = Run.__struct_fields__

FILES: Final = ("runs.sql", "history.sql", "admission.sql", "verify.sql")


class Dialect(msgspec.Struct, frozen=True):
    """How a database spells the macros."""

    name: str
    rows: Callable[[list[tuple[str, str]]], str]
    ids: str
    lock: str
    skip_locked: str
    use: str
    strict: str
    serial: str

    def spell(self, sql: str) -> str:
        """Return `sql` with every macro written out; an unknown one is a programmer's mistake."""
        return _MACRO.sub(self._macro, sql)

    def _macro(self, match: re.Match[str]) -> str:
        name, arguments = match[1], match[2] or ""
        match name:
            case "rows":
                pairs = [tuple(column.split()) for column in arguments.split(",")]
                return self.rows([(column, kind) for column, kind in pairs])
            case "ids":
                return self.ids
            case "run_columns":
                prefix = f"{arguments}." if arguments else ""
                return ", ".join(prefix + column for column in RUN_COLUMNS)
            case "lock":
                return self.lock
            case "skip_locked":
                return self.skip_locked.format(arguments)
            case "use":
                return self.use.format(arguments)
            case "strict":
                return self.strict
            case "serial":
                return self.serial
        raise AssertionError(f"unknown macro @{name}")


@cache
def load(dialect: Dialect) -> dict[str, str]:
    """Return every statement of the product by name, in the dialect; read once."""
    statements: dict[str, str] = {}
    for file in FILES:
        text = files("headway.storage").joinpath("sql", file).read_text(encoding="utf-8")
        _, *parts = _NAME.split(text)
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            assert name not in statements, f"{file}: {name} is defined twice"
            plain = "\n".join(line for line in body.splitlines() if not line.startswith("--"))
            statements[name] = dialect.spell(plain).strip().rstrip(";")
    return statements


def migrations(dialect: Dialect) -> list[tuple[int, str, str]]:
    """Return (number, file name, SQL) of each migration, in order."""
    folder = files("headway.storage").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name, dialect.spell(folder.joinpath(name).read_text(encoding="utf-8"))) for name in names]
