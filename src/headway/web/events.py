"""Handlers for events: a run's history and the feed of all, each as a list or as a stream."""

from __future__ import annotations

from headway.errors import BadCursor, BadParameter
from headway.ids import canonical_id
from headway.protocol.runs import EventList
from headway.web import present, sse
from headway.web.call import Call, number
from headway.web.queries import Feed, RunEvents
from headway.web.reply import Reply, json

STREAM = b"text/event-stream"


def _streams(call: Call) -> bool:
    return call.method == "GET" and call.accepts(STREAM)


async def of_run(call: Call) -> Reply | None:
    """GET /v1/runs/{id}/events."""
    asked = call.parameters(RunEvents)
    if _streams(call):
        return await sse.run_events(call, call.run_id(), asked)
    run = await call.service.runs.get(call.run_id())
    after = _after(asked, run.seq)
    found, more = await call.service.history.page(run.id, after, asked.page_size)
    shown = [present.event_out(event) for event in found]
    return json(EventList(data=shown, next_after=shown[-1].seq if shown else after, has_more=more))


async def feed(call: Call) -> Reply | None:
    """GET /v1/events."""
    asked = call.parameters(Feed)
    run_ids = tuple(_run_id(text) for text in asked.run_id)
    if _streams(call):
        return await sse.feed(call, run_ids, asked)
    after = _after(asked, await call.service.history.last_position())
    found, reached, more = await call.service.history.all_events(after, asked.page_size, run_ids)
    return json(EventList(data=[present.event_out(event) for event in found], next_after=reached, has_more=more))


def _after(asked: RunEvents | Feed, last: int) -> int:
    """Return the number after which a page begins; raise BadCursor for a future one, as a stream does."""
    if asked.after is None:
        return last if asked.start == "now" else 0
    after = number(asked.after, "after")
    if after > last:
        raise BadCursor(f"the last event is {last}; {after} has not been handed out")
    return after


def _run_id(text: str) -> str:
    found = canonical_id(text)
    if found is None:
        raise BadParameter(f"run_id: {text[:80]!r} is not the id of a run", parameter="run_id")
    return found
