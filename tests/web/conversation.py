"""What a worker says and is answered, as it was said by the version that recorded it: JSON, of which no code is left.

python -m tests.web.conversation > tests/web/conversations/NAME.json

Record one with the version that is to be upgraded from, before the protocol changes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import msgspec
from tests.web.kit import Server, serving

from headway.protocol import workers as wire
from headway.protocol.runs import StartRun


async def record() -> list[dict[str, Any]]:
    """Play a worker that says all that there is to say; return the exchanges."""
    said: list[dict[str, Any]] = []
    async with serving("job") as server:

        async def ask(path: str, body: Any) -> Any:
            sent = json.loads(msgspec.json.encode(body))
            answer = await server.post(path, sent)
            said.append({"path": path, "body": sent, "status": answer.status, "answer": answer.json})
            return answer.json

        await _all_of_it(ask)
    return said


async def _all_of_it(ask: Any) -> None:
    task = wire.TaskDeclaration(
        name="job", description="d", executor="process", retry=wire.RetrySpec(max_attempts=2, backoff="1m"), timeout="1h",
        rate=wire.RateSpec(limit=1000, period="1s"), concurrency=100, key="k", retention=wire.RetentionDeclaration(failed=None),
    )  # fmt: skip
    hello = wire.RegisterWorker(
        name="w", host="h", pid=7, version="1", queues=["default"], capacity=10, tasks=[task, wire.TaskDeclaration(name="t")]
    )  # fmt: skip
    worker = (await ask("/v1/workers", hello))["id"]

    async def begun() -> dict[str, Any]:
        await ask("/v1/runs", {"task": "job", "input": {"k": "a"}})
        (lease,) = (await ask("/v1/leases:claim", wire.ClaimRuns(worker_id=worker, rooms={"process": 3})))["leases"]
        return {"run_id": lease["run_id"], "epoch": lease["epoch"]}

    async def report(*reports: Any, held: Any = None) -> Any:
        return await ask("/v1/leases:report", wire.ReportRuns(worker_id=worker, reports=list(reports), held=held))

    of = await begun()
    one = msgspec.Raw(b"1")
    await report(
        wire.ProgressReport(**of, done=1, total=2, message="m"), wire.LogReport(**of, message="m", fields={"a": 1}),
        wire.ResultReport(**of, value=one, name="r"), wire.StepReport(**of, name="s", value=one),
        wire.StepFailureReport(**of, name="f", number=1, error=wire.FunctionError(message="m"), retry_at="2100-01-01T00:00:00Z"),
        wire.ChildReport(**of, name="c", run=StartRun(task="t")), wire.TokenReport(**of, name="t"),
        held=[(of["run_id"], of["epoch"])],
    )  # fmt: skip
    await report(wire.SucceededReport(**of, output=one))
    await ask("/v1/leases:claim", wire.ClaimRuns(worker_id=worker))  # the child
    refused = wire.FunctionError(code="c", type="ValueError", message="m", retryable=False, details="d")
    await report(wire.ErroredReport(**await begun(), error=refused))
    signal = wire.BlockerSpec(kind="signal", name="s", number=2)
    await report(wire.SuspendedReport(**await begun(), blockers=[signal], timeout="1h"))
    await report(wire.SleptReport(**await begun(), until="2100-01-01T00:00:00Z"))
    await report(wire.ReleasedReport(**await begun()))
    of = {**(await begun())}
    await ask(f"/v1/runs/{of['run_id']}:terminate", {"reason": "r"})
    await report(held=[(of["run_id"], of["epoch"])])
    await report(wire.StoppedReport(**of, killed=True))
    await report(wire.SucceededReport(**of))  # too late
    await ask(f"/v1/workers/{worker}:drain", {})


async def replay(server: Server, said: list[dict[str, Any]]) -> None:
    """Say the same again, by what things are called here; fail unless each answer says at least what it said then."""
    names: dict[str, str] = {}
    for exchange in said:
        text = json.dumps([exchange["path"], exchange["body"]])
        for then, now in names.items():
            text = text.replace(then, now)
        path, body = json.loads(text)
        answer = await server.post(path, body)
        assert answer.status == exchange["status"], (path, body, answer.body)
        _says(exchange["answer"], answer.json, names, path)


def _says(then: Any, now: Any, names: dict[str, str], where: str) -> None:
    if isinstance(then, dict):
        assert isinstance(now, dict), where
        for name, value in then.items():
            assert name in now, f"{where}.{name} is gone"
            _says(value, now[name], names, f"{where}.{name}")
    elif isinstance(then, list):
        assert isinstance(now, list), where
        assert len(then) == len(now), where
        for index, (one, other) in enumerate(zip(then, now, strict=True)):
            _says(one, other, names, f"{where}[{index}]")
    elif isinstance(then, str):
        assert isinstance(now, str), where
        if where.endswith(("id", "token")) and then != now:
            names[then] = now
    elif where.endswith(".beat"):  # from a number that each session begins at by chance
        assert isinstance(now, int), where
    else:
        assert then == now, where


if __name__ == "__main__":
    json.dump(asyncio.run(record()), sys.stdout, indent=1)
