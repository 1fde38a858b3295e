"""Filters of runs in requests, translated into filters of the store."""

from __future__ import annotations

from headway.errors import InvalidInput
from headway.ids import canonical_id
from headway.kernel.query import RunFilter
from headway.kernel.run import State
from headway.protocol.runs import RunFilters
from headway.protocol.values import timestamp


def to_filter(asked: RunFilters) -> RunFilter:
    """Return the store's filter; raise InvalidInput for an id or a time that cannot be read."""
    return RunFilter(
        state=tuple(State(name) for name in asked.state),
        task=tuple(asked.task),
        queue=tuple(asked.queue),
        labels=asked.labels,
        parent_id=_id(asked.parent_id, "/parent_id"),
        root_id=_id(asked.root_id, "/root_id"),
        key=asked.key,
        created_after=_ms(asked.created_after, "/created_after"),
        created_before=_ms(asked.created_before, "/created_before"),
        finished_after=_ms(asked.finished_after, "/finished_after"),
        finished_before=_ms(asked.finished_before, "/finished_before"),
    )


def _id(text: str | None, pointer: str) -> str | None:
    if text is None:
        return None
    found = canonical_id(text)
    if found is None:
        raise InvalidInput(
            f"{pointer[1:]} is not the id of a run",
            errors=[{"pointer": pointer, "code": "value", "message": "not the id of a run"}],
        )
    return found


def _ms(text: str | None, pointer: str) -> int | None:
    return None if text is None else timestamp(text, pointer)
