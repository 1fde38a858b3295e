"""Count the Python calls of one start, claim, report and read: `python tools/calls.py [--tree NAME] [--json]`.

The requests go through the ASGI app to a store in memory, which does the writer's work on the caller's thread; each
is counted after `WARM` rounds of the same four, so that caches and prepared decoders are filled. The rules:

- A call is a frame of a function of the package, lambdas and comprehensions included. A coroutine or generator counts
  once, however often it is resumed.
- Calls into `LEAVES` are not counted: they read a clock, make an id or count a time, and lead nowhere else.
- A switch is a call whose file is not that of the call before it, in the order in which they begin.
- The depth is the largest number of frames of the package above each other.

`--tree start` prints the calls as an indented tree instead. PYTHONPATH chooses another tree's `src` to compare with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, Self

import headway
from headway.clock import SystemClock
from headway.config import Settings
from headway.features.access.access import Access
from headway.ids import Signer
from headway.runs.service import Service
from headway.server import FEATURES, NATIVE_SURFACE
from headway.store.sqlite.open import open_memory
from headway.web.asgi import Api

PACKAGE: Final = f"{Path(headway.__file__).parent}/"
LEAVES: Final = frozenset({"clock.py", "durations.py", "histogram.py", "ids.py"})
WARM: Final = 30


class Call(NamedTuple):
    """One call: its depth in the package, file within it, and function."""

    depth: int
    file: str
    function: str


@dataclass(frozen=True)
class Count:
    """Figures of one request."""

    calls: int
    files: int
    switches: int
    depth: int


def count(calls: list[Call]) -> Count:
    """Return the figures of these calls."""
    files = [call.file for call in calls]
    switches = sum(one != other for one, other in pairwise(files))
    return Count(len(calls), len(set(files)), switches, max((call.depth for call in calls), default=0))


class Tracer:
    """Context manager that records the calls within the package on this thread."""

    def __init__(self, package: str = PACKAGE) -> None:
        """`package` is the prefix of its files' paths."""
        self.calls: list[Call] = []
        self._package = package
        self._frames: set[FrameType] = set()  # holds them, so that no other frame takes the address of one

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        sys.setprofile(None)
        self._frames.clear()

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or frame in self._frames or not self._is_ours(frame):
            return
        self._frames.add(frame)
        depth, above = 1, frame.f_back
        while above is not None:
            depth += self._is_ours(above)
            above = above.f_back
        file = frame.f_code.co_filename.removeprefix(self._package)
        self.calls.append(Call(depth, file, frame.f_code.co_qualname))

    def _is_ours(self, frame: FrameType) -> bool:
        path = frame.f_code.co_filename
        return path.startswith(self._package) and path.rpartition("/")[2] not in LEAVES


class Server:
    """The API over a store in memory."""

    def __init__(self) -> None:
        self.service = Service(open_memory(SystemClock()), Signer(b"x" * 32), Settings(), features=FEATURES)
        self.api = Api(self.service, (NATIVE_SURFACE,))

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request; return the decoded answer."""
        sent = b"" if body is None else json.dumps(body).encode()
        headers = [(b"host", b"localhost:8006")]
        if sent:
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(sent)).encode())]
        answer: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: Any) -> None:
            answer.append(message)

        scope = {"type": "http", "client": ("127.0.0.1", 50_000), "method": method, "path": path,
                 "raw_path": path.encode(), "query_string": b"", "headers": headers}  # fmt: skip
        await self.api(scope, receive, send)
        if answer[0]["status"] >= 300:  # noqa: PLR2004
            raise SystemExit(f"{method} {path}: {answer}")
        return json.loads(b"".join(message["body"] for message in answer[1:]))


async def _traced() -> dict[str, list[Call]]:
    server = Server()
    server.service.store.start()
    await server.service.part(Access).load()
    worker = (await server.ask("POST", "/v1/workers", {"name": "w", "tasks": [{"name": "noop"}]}))["id"]
    for _ in range(WARM):
        calls: dict[str, list[Call]] = {}

        async def ask(name: str, method: str, path: str, body: Any = None, into: Any = calls) -> Any:
            with Tracer() as tracer:
                answer = await server.ask(method, path, body)
            into[name] = tracer.calls
            return answer

        run = await ask("start", "POST", "/v1/runs", {"task": "noop", "input": {"n": 1}})
        (lease,) = (await ask("claim", "POST", "/v1/leases:claim", {"worker_id": worker, "max": 1}))["leases"]
        report = {"type": "succeeded", "run_id": run["id"], "epoch": lease["epoch"], "output": 1}
        await ask("report", "POST", "/v1/leases:report", {"worker_id": worker, "reports": [report]})
        await ask("read", "GET", f"/v1/runs/{run['id']}")
    await server.service.gateway.close()
    await server.service.store.close()
    return calls


def traced() -> dict[str, list[Call]]:
    """Return the calls of a start, a claim, a report and a read, by these names."""
    return asyncio.run(_traced())


def main() -> int:
    """Print the figures, or a tree."""
    parser = argparse.ArgumentParser(description="Count the Python calls of one start, claim, report and read.")
    parser.add_argument("--tree", choices=["start", "claim", "report", "read"])
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args()
    found = traced()
    if said.tree:
        for call in found[said.tree]:
            print(f"{'  ' * (call.depth - 1)}{call.file}:{call.function}")
    elif said.json:
        print(json.dumps({name: asdict(count(calls)) for name, calls in found.items()}))
    else:
        print(f"{'':8}{'calls':>7}{'files':>7}{'switches':>10}{'depth':>7}")
        for name, calls in found.items():
            one = count(calls)
            print(f"{name:8}{one.calls:>7}{one.files:>7}{one.switches:>10}{one.depth:>7}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
