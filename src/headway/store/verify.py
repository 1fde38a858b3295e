"""Verification of a store: its rows are compared with each other, by `headway doctor --verify` and at the end of fault tests.

The tables are read in order and side by side, so memory stays the same whatever the store holds. All of it is read as of
one moment: servers may go on writing meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from headway.ids import Signer
from headway.kernel.lifecycle import CAUSES, TRANSITIONS
from headway.kernel.namespace import MARK, Namespace
from headway.kernel.run import FINAL, PARKED, State
from headway.store.corruption import MARK as MARKED
from headway.store.corruption import is_json

_LEGAL: Final = frozenset(
    (str(state), CAUSES[event], str(target))
    for state, row in TRANSITIONS.items()
    for event, targets in row.items()
    for target in targets
)
_BORN: Final = frozenset({State.SCHEDULED, State.QUEUED})

Line = tuple[str, int, str, str | None]
"""An event: run id, seq, type, and the data of a `run.state`."""


class StateLine(msgspec.Struct, frozen=True):
    """Data of a `run.state` event."""

    state: str
    cause: str
    epoch: int | None = None


_told: Final = msgspec.json.Decoder(StateLine).decode


class Finding(msgspec.Struct, frozen=True):
    """A contradiction between rows."""

    about: str
    """A run's id, or a table."""
    message: str

    def __str__(self) -> str:
        """Return the finding in one line."""
        return f"{self.about}: {self.message}"


DOCUMENTS: Final = {
    "runs": ("input", "output", "error", "reason", "labels", "blocked_on"), "events": ("data",), "results": ("value",),
    "steps": ("value",), "tasks": ("definition",),
}  # fmt: skip
"""Columns of the core's tables with JSON documents, by table."""
_NAMED: Final = ("run_id", "id", "name")
"""The column by which a row is named in findings."""

Rows = Iterable[Mapping[str, Any]]
"""The rows of a table, by the names of their columns."""


def unreadable(table: str, rows: Callable[[bool], Rows], documents: Collection[str]) -> list[Finding]:
    """Return the values of a table that are not UTF-8, or, in the columns with `documents`, not JSON.

    `rows(False)` may raise UnicodeDecodeError; `rows(True)` reads invalid UTF-8 as `store.corruption` describes.
    """
    try:
        return list(_unreadable(table, rows(False), documents, marked=False))
    except UnicodeDecodeError:
        return list(_unreadable(table, rows(True), documents, marked=True))


def _unreadable(table: str, rows: Rows, documents: Collection[str], *, marked: bool) -> Iterator[Finding]:
    for row in rows:
        for column, cell in row.items():
            if cell.__class__ is not str:
                continue
            if (marked and cell.startswith(MARKED)) or (column in documents and not is_json(cell)):
                about = next((str(row[name]) for name in _NAMED if name in row), table)
                yield Finding(about, f"it is damaged: {column} of its row in {table} cannot be read")


class Read(NamedTuple):
    """Reads of a store, all of them as of one moment."""

    rows: Callable[..., Iterable[Any]]
    """Returns the rows of a named statement, one after the other."""
    signers: Sequence[Signer] = ()
    """Signers with the store's secrets; () if these are not known."""

    def __call__(self, name: str, /, **binds: Any) -> Iterable[Any]:
        """Return the rows of a named statement, one after the other."""
        return self.rows(name, **binds)


class RowCheck(NamedTuple):
    """Check of the rows of a feature."""

    findings: Callable[[Read], Iterator[Finding]]
    documents: Mapping[str, tuple[str, ...]] = {}
    """Columns of the feature's tables with JSON documents, by table."""


def documents_of(checks: Sequence[RowCheck]) -> Mapping[str, tuple[str, ...]]:
    """Return the columns with JSON documents, by table, of the core and of the features."""
    return DOCUMENTS | {table: columns for check in checks for table, columns in check.documents.items()}


def findings(read: Read, checks: Sequence[RowCheck] = ()) -> Iterator[Finding]:
    """Yield all contradictions; a healthy store has none, also right after a crash."""
    yield from _histories(read("verify_runs"), read("verify_events"))
    for task, queue, state, kept, found in read("verify_counters"):
        yield Finding("counters", f"({_named(task)}, {_named(queue)}, {state}) says {kept}, there are {found}")
    for run_id, where, name in read("verify_labels", mark=MARK):
        yield Finding(run_id, f"the label {name!r} is in the {where} only")
    for run_id, what in read("verify_organisations", mark=MARK):
        yield Finding(
            run_id, f"its {what} is not one of its organisation" if what != "organisation" else "it is nobody's"
        )
    for what, run_id in read("verify_orphans"):
        yield Finding(run_id, f"a {what} of it is left, but it is not there" if " " not in what else what)
    for run_id, count, last in read("verify_results"):
        yield Finding(run_id, f"it has {count} results, and the last has number {last}")
    for run_id, worker_id in read("verify_leases"):
        yield Finding(run_id, f"its lease is held by {worker_id}, which is gone")
    for task, key, queue in read("verify_parked", parked=PARKED):
        message = f"runs of the key {_named(key)!r} in the queue {_named(queue)!r} wait for a slot that is free"
        yield Finding(_named(task), message)
    for check in checks:
        yield from check.findings(read)


def _named(stored: str) -> str:
    """Return a stored name for people, with its organisation."""
    return f"{Namespace.unqualify(stored)} of organisation {Namespace.owner(stored)}" if MARK in stored else stored


def _histories(runs: Iterable[Any], events: Iterable[Any]) -> Iterator[Finding]:
    """Walk runs and histories side by side; both come in order of run id."""
    histories = groupby(events, key=lambda line: line[0])
    told, lines = next(histories, (None, iter(())))
    for run_id, state, epoch, seq in runs:
        while told is not None and told < run_id:
            yield Finding(told, "it has a history, but is not there")
            told, lines = next(histories, (None, iter(())))
        if told != run_id:
            yield Finding(run_id, "it has no history")
            continue
        yield from _history(run_id, state, epoch, seq, lines)
        told, lines = next(histories, (None, iter(())))
    while told is not None:
        yield Finding(told, "it has a history, but is not there")
        told, lines = next(histories, (None, iter(())))


def _history(run_id: str, state: str, epoch: int, seq: int, lines: Iterable[Line]) -> Iterator[Finding]:
    """Hold a run against its history: numbers without gaps, legal steps, rising epochs, one end."""
    last, now, claims = 0, "", 0
    for _, number, kind, data in lines:
        if number != last + 1:
            yield Finding(run_id, f"event {last + 1} is missing")
        last = number
        if kind != "run.state" or data is None:
            continue
        line = _told(data)
        to, cause = line.state, line.cause
        if now == "":
            if cause != "created" or to not in _BORN:
                yield Finding(run_id, f"its history begins with {cause} in {to}")
        elif (now, cause, to) not in _LEGAL:
            yield Finding(run_id, f"{cause} took it from {now} to {to}")
        if cause == "claimed":
            claims += 1
            if line.epoch != claims:
                yield Finding(run_id, f"claim {claims} has epoch {line.epoch}")
        now = to
    if last != seq:
        yield Finding(run_id, f"its last event is {last}, it says {seq}")
    if now != state:
        yield Finding(
            run_id, f"it is {state}, its history ends in {now}" + (", which is final" if now in FINAL else "")
        )
    if claims != epoch:
        yield Finding(run_id, f"it was claimed {claims} times, its epoch is {epoch}")
