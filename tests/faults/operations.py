"""Every write that the API takes, as a table: how it is done, how often it has happened, and what may be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from tests.faults.protocol import ProtocolWorker, of
from tests.faults.server import Server

from headway import failpoints
from headway.client.transport import Response


class PreparedStore(msgspec.Struct, frozen=True, kw_only=True):
    """What a prepared store holds: run ids by the state that they are in."""

    worker: str
    running: dict[str, Any]
    """A lease."""
    queued: str
    suspended: str
    failed: str
    succeeded: str
    ready: tuple[str, str]
    """The two that the next claim gets."""

    def known(self) -> set[str]:
        return {self.running["run_id"], self.queued, self.suspended, self.failed, self.succeeded, *self.ready}


def prepare(server: Server) -> PreparedStore:
    """Fill an empty store."""
    hand = ProtocolWorker(server)
    ids = [server.started("job") for _ in range(3)]
    leases = {lease["run_id"]: lease for lease in hand.claim(3)}
    running, failed, succeeded = ids
    hand.report(
        of(leases[failed], "errored", error={"message": "no", "retryable": False}), of(leases[succeeded], "succeeded")
    )
    suspended = server.started("job")
    server.post(f"/v1/runs/{suspended}:suspend")
    queued = server.started("job")
    ready = [server.post("/v1/runs", {"task": "job", "priority": 10})["id"] for _ in range(2)]
    return PreparedStore(
        worker=hand.id, running=leases[running], queued=queued, suspended=suspended, failed=failed, succeeded=succeeded,
        ready=(ready[0], ready[1]),
    )  # fmt: skip


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    name: str
    act: Callable[[Server, PreparedStore], Response]
    times: Callable[[Server, PreparedStore], float]
    """How often it has happened; a fraction says that it happened in part."""
    again: int = 1
    """How often it may have happened at most after it was repeated."""


def _post(path: str, body: Any = None) -> Callable[[Server, PreparedStore], Response]:
    def act(server: Server, there: PreparedStore) -> Response:
        where = path.format(there=there)
        return server.call("POST", where, {} if body is None else body, Idempotency_Key="the-key")

    return act


def _report(kind: str, **fields: Any) -> Callable[[Server, PreparedStore], Response]:
    def act(server: Server, there: PreparedStore) -> Response:
        return ProtocolWorker(server, worker_id=there.worker).send(of(there.running, kind, **fields))

    return act


def _claim(server: Server, there: PreparedStore) -> Response:
    return server.call("POST", "/v1/leases:claim", {"worker_id": there.worker, "max": 2})


def _new(server: Server, there: PreparedStore) -> list[Any]:
    found = server.get("/v1/runs?page_size=200")["data"]
    return [run for run in found if run["id"] not in there.known() and run["labels"] != {"warm": "up"}]


def _events(server: Server, run_id: str, kind: str, **data: Any) -> int:
    events = server.get(f"/v1/runs/{run_id}/events?page_size=200")["data"]
    return sum(event["type"] == kind and data.items() <= event["data"].items() for event in events)


def _running(server: Server, there: PreparedStore, kind: str, **data: Any) -> int:
    return _events(server, there.running["run_id"], kind, **data)


def _gone(server: Server, there: PreparedStore) -> int:
    status = server.call("GET", f"/v1/runs/{there.succeeded}").status
    assert status in {200, 410}, status
    return int(status == 410)


def _patch(server: Server, there: PreparedStore) -> Response:
    body = {"priority": 9, "labels": {"a": "b"}}
    return server.call("PATCH", f"/v1/runs/{there.queued}", body, Idempotency_Key="the-key")


def _patched(server: Server, there: PreparedStore) -> float:
    run = server.run(there.queued)
    return (
        ((run["priority"] == 9) + (run["labels"] == {"a": "b"}))
        / 2
        * max(1, _events(server, there.queued, "run.changed"))
    )


def _listed(server: Server, there: PreparedStore, what: str) -> int:
    return len(server.get(f"/v1/runs/{there.running['run_id']}/{what}")["data"])


_LEASED = {"cause": "claimed"}
_BLOCKERS = [{"kind": "signal", "name": "go"}]
OPERATIONS = (
    Operation(name="start", act=_post("/v1/runs", {"task": "job"}), times=lambda s, t: len(_new(s, t))),
    Operation(
        name="batch",
        act=_post("/v1/runs:batch", {"atomic": True, "runs": [{"task": "job"}] * 3}),
        times=lambda s, t: len(_new(s, t)) / 3,
    ),
    Operation(
        name="claim", act=_claim, times=lambda s, t: sum(_events(s, i, "run.state", **_LEASED) for i in t.ready) / 2
    ),
    Operation(
        name="success",
        act=_report("succeeded", output={"a": 1}),
        times=lambda s, t: _running(s, t, "run.state", state="succeeded"),
    ),
    Operation(
        name="failure",
        act=_report("errored", error={"message": "no"}),
        times=lambda s, t: _running(s, t, "run.state", state="failed"),
    ),
    Operation(
        name="progress",
        act=_report("progress", done=7, total=9),
        times=lambda s, t: int(s.run(t.running["run_id"])["progress"]["done"] == 7),
    ),
    Operation(name="log", act=_report("log", message="hello"), times=lambda s, t: _running(s, t, "run.log"), again=2),
    Operation(name="step", act=_report("step", name="one", value=1), times=lambda s, t: _running(s, t, "run.step")),
    Operation(
        name="result",
        act=_report("result", value={"a": 1}, name="one"),
        times=lambda s, t: _listed(s, t, "results"),
        again=2,
    ),
    Operation(
        name="child",
        act=_report("child", name="one", run={"task": "job"}),
        times=lambda s, t: _listed(s, t, "children"),
    ),
    Operation(
        name="suspension",
        act=_report("suspended", blockers=_BLOCKERS),
        times=lambda s, t: _running(s, t, "run.state", state="suspended"),
    ),
    Operation(
        name="release", act=_report("released"), times=lambda s, t: _running(s, t, "run.state", cause="released")
    ),
    Operation(
        name="stop",
        act=_post("/v1/runs/{there.running[run_id]}:terminate"),
        times=lambda s, t: _running(s, t, "run.state", state="stopping"),
    ),
    Operation(
        name="signal",
        act=_post("/v1/runs/{there.suspended}:signal", {"name": "go", "payload": 1}),
        times=lambda s, t: _events(s, t.suspended, "run.signal"),
    ),
    Operation(
        name="terminate",
        act=_post("/v1/runs/{there.queued}:terminate"),
        times=lambda s, t: _events(s, t.queued, "run.state", state="terminated"),
    ),
    Operation(
        name="suspend",
        act=_post("/v1/runs/{there.queued}:suspend"),
        times=lambda s, t: _events(s, t.queued, "run.state", state="suspended"),
    ),
    Operation(
        name="resume",
        act=_post("/v1/runs/{there.suspended}:resume"),
        times=lambda s, t: _events(s, t.suspended, "run.state", cause="resumed"),
    ),
    Operation(
        name="protect",
        act=_post("/v1/runs/{there.queued}:protect"),
        times=lambda s, t: _events(s, t.queued, "run.changed", protected=True),
    ),
    Operation(name="delete", act=lambda s, t: s.call("DELETE", f"/v1/runs/{t.succeeded}"), times=_gone),
    Operation(name="patch", act=_patch, times=_patched),
    Operation(
        name="pause",
        act=_post("/v1/queues/default:pause"),
        times=lambda s, t: int(s.get("/v1/queues/default")["paused"]),
    ),
    Operation(
        name="deactivate",
        act=_post("/v1/tasks/job:deactivate"),
        times=lambda s, t: int(not s.get("/v1/tasks/job")["active"]),
    ),
    Operation(
        name="limit",
        act=lambda s, t: s.call("PATCH", "/v1/queues/default", {"concurrency": 5}),
        times=lambda s, t: int(s.get("/v1/queues/default")["concurrency"] == 5),
    ),
    Operation(
        name="register",
        act=lambda s, t: s.call("POST", "/v1/workers", {"name": "new", "tasks": [{"name": "new", "queue": "other"}]}),
        times=lambda s, t: int(s.call("GET", "/v1/tasks/new").status == 200),
    ),
    Operation(
        name="retry",
        act=_post("/v1/runs/{there.failed}:retry"),
        times=lambda s, t: sum(run["previous_id"] == t.failed for run in _new(s, t)),
    ),
)


WRITER = [point for point in failpoints.POINTS if point.startswith("writer.")]
