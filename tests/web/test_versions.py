"""Servers are upgraded first: workers of earlier versions go on, and nobody stumbles over what a later one has to say."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from msgspec import inspect
from tests.client.server import Answer
from tests.client.server import serving as scripted
from tests.web.conversation import record, replay
from tests.web.kit import serving

import headway.protocol
from headway.client.transport import Transport
from headway.protocol import workers as wire
from headway.protocol.runs import Open
from headway.worker.protocol.link import HttpLink

CONVERSATIONS = sorted((Path(__file__).parent / "conversations").glob("*.json"))


@pytest.mark.parametrize("recorded", CONVERSATIONS, ids=lambda path: path.stem)
async def test_a_worker_of_an_earlier_version_is_served_as_it_was(recorded):
    async with serving("job") as server:
        await replay(server, json.loads(recorded.read_text()))


async def test_a_worker_of_this_version_says_all_that_there_is_to_say():
    said = await record()
    kinds = {report["type"] for exchange in said for report in exchange["body"].get("reports", ())}
    assert kinds == {inspect.type_info(kind).tag for kind in wire.AnyReport.__args__}
    async with serving("job") as server:
        await replay(server, said)


def more(value: Any) -> Any:
    """Return an answer as a later version may give it: each object says something that is unheard of."""
    if isinstance(value, dict):
        return {"unheard_of": {"a": [1]}, **{name: more(part) for name, part in value.items()}}
    return [more(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("later", [False, True], ids=["as it was", "with more"])
@pytest.mark.parametrize("recorded", CONVERSATIONS, ids=lambda path: path.stem)
def test_a_worker_understands_a_server_of_another_version(recorded, later):
    said = [exchange for exchange in json.loads(recorded.read_text()) if exchange["status"] < 300]
    answers = {exchange["path"]: more(exchange["answer"]) if later else exchange["answer"] for exchange in said}
    claimed = [exchange["answer"] for exchange in said if exchange["path"] == "/v1/leases:claim"]
    reported = [exchange["answer"] for exchange in said if exchange["path"] == "/v1/leases:report"]
    for leases, results in zip(claimed, reported, strict=False):
        answers["/v1/leases:claim"] = more(leases) if later else leases
        answers["/v1/leases:report"] = more(results) if later else results
        with scripted(lambda request: Answer(200, answers[request.path])) as fake:
            link = HttpLink(Transport(fake.url))
            try:
                known = link.register(wire.RegisterWorker())
                assert (known.lease_ms, known.heartbeat_ms) == (15_000, 5_000)
                (lease,) = link.claim(wire.ClaimRuns(worker_id=known.id), lambda: 1)
                assert (lease.run_id, lease.epoch) == (leases["leases"][0]["run_id"], leases["leases"][0]["epoch"])
                done = link.report(wire.ReportRuns(worker_id=known.id))
                assert [stop.run_id for stop in done.stop] == [stop["run_id"] for stop in results["stop"]]
                assert len(done.replies) == len(results["replies"])
            finally:
                link.close()


def parts(kind: Any, found: set[type]) -> None:
    """Collect the structs that a type is made of."""
    if isinstance(kind, inspect.StructType):
        if kind.cls in found:
            return
        found.add(kind.cls)
    for name in ("fields", "types", "item_types"):
        for part in getattr(kind, name, ()):
            parts(part.type if isinstance(part, inspect.Field) else part, found)
    for name in ("item_type", "key_type", "value_type", "type"):
        if isinstance(part := getattr(kind, name, None), inspect.Type):
            parts(part, found)


def test_no_answer_is_refused_by_a_client_for_what_it_says_beyond_what_is_known():
    modules = [
        importlib.import_module(f"headway.protocol.{found.name}")
        for found in pkgutil.iter_modules(headway.protocol.__path__)
    ]
    answers = [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Open) and kind is not Open
    ]
    found: set[type] = set()
    for answer in answers:
        parts(inspect.type_info(answer), found)
    assert len(found) > 50
    assert [kind.__name__ for kind in found if kind.__struct_config__.forbid_unknown_fields] == []
