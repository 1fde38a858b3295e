"""Runs and events as a server shows them."""

import json

ID = "0199a000-0000-7000-8000-000000000001"


def run(state="queued", run_id=ID, **fields):
    base = {
        "id": run_id,
        "object": "run",
        "task": "backup",
        "task_version": "1",
        "name": "backup",
        "state": state,
        "final": state in {"succeeded", "failed", "terminated"},
        "reason": None,
        "priority": 5,
        "queue": "default",
        "key": None,
        "attempt": 1,
        "max_attempts": 3,
        "crashes": 0,
        "progress": {"done": 0, "total": None, "percent": None, "message": "", "rate": None, "eta": None},
        "input": {},
        "output": None,
        "error": None,
        "labels": {},
        "blocked_on": [],
        "run_type": "api",
        "parent_id": None,
        "root_id": run_id,
        "previous_id": None,
        "schedule_id": None,
        "worker_id": None,
        "protected": False,
        "created_at": "2026-11-22T01:00:00.000Z",
        "updated_at": "2026-11-22T01:00:00.000Z",
        "run_at": "2026-11-22T01:00:00.000Z",
        "started_at": None,
        "finished_at": None,
        "expires_at": None,
        "version": 1,
        "durability": "full",
        "url": f"/v1/runs/{run_id}",
        "a_field_of_a_later_version": {"x": 1},
    }
    return base | fields


def sse(event, data, number=None):
    lines = [f"event: {event}", f"data: {json.dumps(data)}"]
    if number is not None:
        lines.insert(0, f"id: {number}")
    return ("\n".join(lines) + "\n\n").encode()


def line(seq, kind="run.state", **data):
    return sse(kind, {"seq": seq, "type": kind, "time": "2026-11-22T01:00:00.000Z", "run_id": ID, "data": data}, seq)


def progress(done, total, seq=1, eta=None):
    data = {"done": done, "total": total, "percent": 100 * done / total, "message": "f", "rate": 2.0, "eta": eta}
    envelope = {"seq": seq, "type": "run.progress", "time": "2026-11-22T01:00:00.000Z", "run_id": ID, "data": data}
    return sse("run.progress", envelope)


def snapshot(seq, state="running", **fields):
    return sse("snapshot", {"seq": seq, "run": run(state, **fields)})


END = sse("end", {})


class FakePace:
    """Time passes only when someone waits for it."""

    def __init__(self):
        self.pauses = []
        self._now_s = 0.0

    def now_s(self):
        return self._now_s

    def spread(self):
        return 1.0

    def pause(self, seconds):
        self.pauses.append(seconds)
        self._now_s += seconds


class AsyncFakePace(FakePace):
    async def pause(self, seconds):
        super().pause(seconds)
