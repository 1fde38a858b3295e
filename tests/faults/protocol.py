"""A worker in the test's own hands: it says exactly what the test has it say, over HTTP, as late as the test likes."""

from __future__ import annotations

from typing import Any

from tests.faults.server import Server, decoded

from headway.client.transport import Response

JOB = {"name": "job", "retry": {"max_attempts": 1}}


class ProtocolWorker:
    """One registered worker."""

    def __init__(self, server: Server, *tasks: dict[str, Any], worker_id: str = "") -> None:
        """Register, or go on as a worker that was registered before."""
        self.server = server
        self.heard = 0
        """The number of the last heartbeat that was answered."""
        self.id = worker_id or server.post("/v1/workers", {"name": "hand", "tasks": list(tasks or [JOB])})["id"]

    def claim(self, most: int = 1, wait: str = "0s") -> list[dict[str, Any]]:
        """Claim runs."""
        return self.server.post("/v1/leases:claim", {"worker_id": self.id, "max": most, "wait": wait})["leases"]

    def send(self, *reports: dict[str, Any], held: list[Any] | None = None, **more: Any) -> Response:
        """Report; return the answer as it is."""
        body: dict[str, Any] = {"worker_id": self.id, "reports": list(reports), **more}
        if held is not None:
            body["held"] = held
        return self.server.call("POST", "/v1/leases:report", body)

    def report(self, *reports: dict[str, Any], held: list[Any] | None = None) -> dict[str, Any]:
        """Report; fail unless everything is taken."""
        answer = decoded(self.send(*reports, held=held), 200)
        assert answer["rejected"] == []
        return answer

    def beat(self, *held: tuple[str, int]) -> dict[str, Any]:
        """Send a heartbeat, with no claim under way."""
        answer = decoded(self.send(held=[list(lease) for lease in held], claiming=[], heard=self.heard), 200)
        self.heard = answer["beat"]
        return answer


def of(lease: dict[str, Any], kind: str, **fields: Any) -> dict[str, Any]:
    """Return a report on a lease."""
    return {"type": kind, "run_id": lease["run_id"], "epoch": lease["epoch"], **fields}


def everything(lease: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one report of each kind that there is."""
    return [
        of(lease, "progress", done=99, total=100, message="late"),
        of(lease, "log", message="late"),
        of(lease, "result", value="late"),
        of(lease, "step", name="late", value="late"),
        of(lease, "child", name="late", run={"task": lease["task"]}),
        of(lease, "token", name="late"),
        of(lease, "succeeded", output="late"),
        of(lease, "errored", error={"message": "late"}),
        of(lease, "suspended", blockers=[{"kind": "signal", "name": "late"}]),
        of(lease, "slept", until="2030-01-01T00:00:00Z"),
        of(lease, "released"),
        of(lease, "stopped"),
    ]
