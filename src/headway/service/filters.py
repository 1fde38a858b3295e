"""From what a request filters by to the filter of the store."""

from __future__ import annotations

from headway.errors import BadParameter
from headway.ids import canonical
from headway.model.query import RunFilter
from headway.model.run import State
from headway.service.starting import timestamp
from headway.wire.runs import RunQuery


def to_filter(query: RunQuery) -> RunFilter:
    """Return the filter; raise InvalidInput for a time and BadParameter for an id that cannot be read."""
    return RunFilter(
        state=tuple(State(state) for state in query.state),
        task=tuple(query.task),
        queue=tuple(query.queue),
        labels=query.labels,
        parent_id=_id(query.parent_id, "parent_id"),
        root_id=_id(query.root_id, "root_id"),
        key=query.key,
        created_after=_time(query.created_after, "/created_after"),
        created_before=_time(query.created_before, "/created_before"),
        finished_after=_time(query.finished_after, "/finished_after"),
        finished_before=_time(query.finished_before, "/finished_before"),
    )


def _time(text: str | None, pointer: str) -> int | None:
    return None if text is None else timestamp(text, pointer)


def _id(text: str | None, name: str) -> str | None:
    if text is None:
        return None
    found = canonical(text)
    if found is None:
        raise BadParameter(f"{name} is not a run id")
    return found
