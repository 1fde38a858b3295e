"""Handlers for events: the history of a run and the feed of all runs, each as a list or as a stream.

A request with `Accept: text/event-stream` is answered with server-sent events (WHATWG HTML, section 9.2), which begin after
`Last-Event-ID`, `after`, or at `from`; a comment every 15 seconds keeps the connection alive, and `reconnect` asks the
client to connect again, as before a drain.
"""

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
    """GET /v1/runs/{id}/events: the events of a run after the number `after`, as a page of 50 by default, or as a stream.

    A stream begins with a `snapshot` of the run and ends with `end`; 204 if the client has all events of a finished run.

    Errors: `run_not_found`, `run_purged`, `bad_cursor`, and of a stream `overloaded`, `draining`.
    """
    asked = call.parameters(RunEvents)
    if _streams(call):
        return await sse.run_events(call, call.run_id(), asked)
    run = await call.services.runs.get(call.run_id())
    after = _after(asked, run.seq)
    found, more = await call.services.history.page(run.id, after, asked.page_size)
    shown = [present.event_out(event) for event in found]
    return json(EventList(data=shown, next_after=shown[-1].seq if shown else after, has_more=more))


async def feed(call: Call) -> Reply | None:
    """GET /v1/events: the events of all runs, or of those in `run_id`, after the position `after`, as a page or as a stream.

    Errors: `bad_cursor`, and of a stream `overloaded`, `draining`.
    """
    asked = call.parameters(Feed)
    run_ids = tuple(_run_id(text) for text in asked.run_id)
    if _streams(call):
        return await sse.feed(call, run_ids, asked)
    after = _after(asked, await call.services.history.last_position())
    found, reached, more = await call.services.history.all_events(after, asked.page_size, run_ids)
    return json(EventList(data=[present.event_out(event) for event in found], next_after=reached, has_more=more))


def _after(asked: RunEvents | Feed, last: int) -> int:
    """Return the number after which a page begins; raise BadCursor for a future one, as a stream does."""
    if asked.after is None:
        return last if asked.start == "now" else 0
    after = number(asked.after, "after")
    if after > last:
        raise BadCursor(f"the last event is {last}; {after} does not exist yet")
    return after


def _run_id(text: str) -> str:
    found = canonical_id(text)
    if found is None:
        raise BadParameter(f"run_id: {text[:80]!r} is not the id of a run", parameter="run_id")
    return found
