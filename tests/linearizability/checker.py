"""Is there an order in which the operations of a history, one after the other, give the answers that they were given?

The search is that of Wing and Gong (1993) with Lowe's memory of what was tried (2017): take an operation that may have
been next, carry it out on the model, and go back when an operation has returned that could not be placed. Runs know
nothing of each other, so each run's history is searched by itself, which is what makes it fast. Two things more keep the
search short: what is answered and changes nothing is placed where it fits first, for every order that has it later is as
good with it there; and what was never answered is placed only where it changes something, and where nothing else fits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import msgspec

NEVER = float("inf")
"""When an operation returned that was never answered: it may have happened at any time since, or never."""

Step = Callable[[Any, "Operation"], Hashable | None]
"""Returns the state after the operation, or None if in that state it is not answered so."""


class Operation(msgspec.Struct, frozen=True):
    """What one client asked for, and the answer."""

    run_id: str
    client: int
    verb: str
    began: float
    ended: float
    given: Any = None
    """What the verb takes."""
    answer: Any = None
    """None: not known."""


class _Entry:
    """The beginning or the end of an operation, in a list from which both are taken out and put back."""

    __slots__ = ("before", "end", "next", "number", "operation")

    def __init__(self, number: int, operation: Operation, end: _Entry | None) -> None:
        self.number, self.operation, self.end = number, operation, end
        self.before: _Entry | None = None
        self.next: _Entry | None = None

    def take_out(self) -> None:
        assert self.end is not None
        for entry in (self, self.end):
            assert entry.before is not None
            entry.before.next = entry.next
            if entry.next is not None:
                entry.next.before = entry.before

    def put_back(self) -> None:
        assert self.end is not None
        for entry in (self.end, self):
            assert entry.before is not None
            entry.before.next = entry
            if entry.next is not None:
                entry.next.before = entry


def _linked(operations: list[Operation]) -> _Entry:
    """Return the head of the list, in order of time; what begins when another ends may be at the same time as that."""
    moments: list[tuple[float, int, _Entry]] = []
    for number, operation in enumerate(operations):
        end = _Entry(number, operation, None)
        moments += [(operation.began, 0, _Entry(number, operation, end)), (operation.ended, 1, end)]
    head = last = _Entry(-1, operations[0], None)
    for _, _, entry in sorted(moments, key=lambda moment: moment[:2]):
        last.next, entry.before = entry, last
        last = entry
    return head


def unexplained(operations: list[Operation], initial: Hashable, step: Step) -> list[Operation] | None:
    """Return None if the history of one object is linearizable; else the operations that no order could place.

    These are the ones that were under way where the longest order that was found came to its end.
    """
    head = _linked(operations)
    state, placed, longest, left = initial, 0, -1, list[Operation]()
    taken: list[tuple[_Entry, Any, list[_Entry]]] = []
    """Operation, the state before it, and what else could have been next, the likeliest last."""
    tried: set[tuple[int, Any]] = set()
    while True:
        end, options = _options(head, state, step)
        if end is None:
            return None
        if len(taken) > longest:
            longest, left = len(taken), [one.operation for one in _until(head, end)]
        while True:
            while not options:
                if not taken:
                    return left
                entry, state, options = taken.pop()
                placed &= ~(1 << entry.number)
                entry.put_back()
            entry = options.pop()
            after, mark = step(state, entry.operation), placed | 1 << entry.number
            if after is not None and (mark, after) not in tried:
                break
        tried.add((mark, after))
        taken.append((entry, state, options))
        state, placed = after, mark
        entry.take_out()


def _options(head: _Entry, state: Any, step: Step) -> tuple[_Entry | None, list[_Entry]]:
    """Return the first end, before which something has to be placed, and what could be, the likeliest last.

    There is no such end if all that was answered is placed.
    """
    known: list[_Entry] = []
    lost: list[_Entry] = []
    entry = head.next
    while entry is not None and entry.end is not None:
        after, operation = step(state, entry.operation), entry.operation
        if after == state and operation.answer is not None:
            known, lost = [entry], []
            while entry is not None and entry.end is not None:
                entry = entry.next
            break
        if operation.ended != NEVER:
            known.append(entry)
        elif after != state:
            lost.append(entry)
        entry = entry.next
    return None if entry is None or entry.operation.ended == NEVER else entry, [*reversed(lost), *reversed(known)]


def _until(head: _Entry, last: _Entry) -> Iterable[_Entry]:
    """Give the beginnings that are left before an end that could not be reached."""
    entry = head.next
    while entry is not None and entry is not last:
        if entry.end is not None:
            yield entry
        entry = entry.next


def by_run(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Return the history of each run."""
    found: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        found[operation.run_id].append(operation)
    return dict(found)


def backwards(
    operations: Iterable[Operation], version: Callable[[Any], int | None]
) -> list[tuple[Operation, Operation]]:
    """Return pairs of which the second began after the first had ended, and was answered with an older version.

    This asks for less than linearizability, and knows nothing of the model: the one can find a mistake in the other.
    """
    known = [(one, found) for one in operations if (found := version(one.answer)) is not None]
    ended = sorted(known, key=lambda one: one[0].ended)
    wrong, newest, deployment = [], None, 0
    for operation, found in sorted(known, key=lambda one: one[0].began):
        while deployment < len(ended) and ended[deployment][0].ended < operation.began:
            if newest is None or ended[deployment][1] > newest[1]:
                newest = ended[deployment]
            deployment += 1
        if newest is not None and found < newest[1]:
            wrong.append((newest[0], operation))
    return wrong
