"""Reads named statements out of the .sql files, and spells their macros in a dialect.

A statement is plain SQL with `:name` binds. What the dialects say differently is a macro:

    @rows(id text, count bigint)   a JSON array of arrays, bound as :rows, as a table with these columns
    @ids                           a JSON array of texts, bound as :ids, as a subquery
    @run_columns, @run_columns(r)  the columns of a run, in the order of model.run.Run
    @lock, @skip_locked(runs)      row locks, where several may write
    @use(runs_due)                 the index to use, where the planner cannot know better
    @beside(organisation)          a column that no index is to be chosen for
    @pairs(labels)                 a JSON object as a table of key and value
    @horizon                       the position below which no event can be added any more
    @text, @integer, @real         in the schema: text in the order of its bytes, 64 bits, a double
    @serial, @strict               in the schema: a number that only rises; strict typing

How `records` reads the values of a record, each a word with the field in it: text_at, number_at, flag_at, items_at, sized_at;
how it changes them: patched, patched_before; and how it looks for a text in another: found_in.

What two dialects cannot say in the same way at all is a statement of the same name in a file of its own (`own`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from headway.kernel.run import Run

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MACRO: Final = re.compile(r"@(\w+)(?:\(([^()]*)\))?")
_FOLDER: Final = Path(__file__).parent
RUN_COLUMNS: Final = Run.__struct_fields__


def files() -> list[Path]:
    """Return the files with the statements of the core and of the features."""
    return [*sorted(_FOLDER.glob("sql/*.sql")), *sorted(_FOLDER.parent.glob("features/*/*.sql"))]


class Dialect(msgspec.Struct, frozen=True):
    """Spelling of the macros for one database."""

    name: str
    rows: Callable[[list[tuple[str, str]]], str]
    ids: str
    words: dict[str, str]
    """The other macros; `{}` stands for what is in their brackets."""
    few: str = "JOIN runs AS few ON few.id IN ({})"
    """Join with the few ids that a subquery finds for each row, for `lists`."""
    among: str = "IN ({})"
    """Condition that an id is one of the few that a subquery finds, for `lists`."""
    walk: str = "{}"
    """One of several merged walks of an index, for `lists`: the walk, and the order of all."""
    apart: bool = False
    """Whether the indexes of states, tasks and queues leave out what a worker holds, so that a claim need not write them.
    There are never many such runs; their own index has them, and `lists` looks there too."""
    binds: Callable[[str], str] = lambda sql: sql
    """Writes `:name` as the driver wants it."""
    overrides: tuple[str, ...] = ()
    """Files with statements that replace those of the same name, as paths below `storage`."""

    def spell(self, sql: str) -> str:
        """Return `sql` with every macro written out; an unknown one is a programmer's mistake."""
        return self.binds(_MACRO.sub(self._macro, sql))

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
        assert name in self.words, f"unknown macro @{name}"
        return self.words[name].format(arguments)


def load(dialect: Dialect) -> dict[str, str]:
    """Return every statement of the product by name, in the dialect; each dialect does so once."""
    statements: dict[str, str] = {}
    for path in files():
        for name, sql in named(path):
            assert name not in statements, f"{path.name}: {name} is defined twice"
            statements[name] = dialect.spell(sql)
    for file in dialect.overrides:
        for name, sql in named(_FOLDER / file):
            assert name in statements, f"{file}: {name} replaces nothing"
            statements[name] = dialect.spell(sql)
    return statements


def named(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each statement of a file."""
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        plain = "\n".join(line for line in body.splitlines() if not line.startswith("--"))
        yield name, plain.strip().rstrip(";")


def migrations(dialect: Dialect) -> list[tuple[int, str, str]]:
    """Return (number, file name, SQL) of each migration, in order."""
    files = sorted((_FOLDER / "migrations").glob("*.sql"))
    return [(int(file.name[:4]), file.name, dialect.spell(file.read_text(encoding="utf-8"))) for file in files]
