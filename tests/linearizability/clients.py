"""Clients that start runs and change them all at once, and write down when they asked for what, and the answer."""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import Any, Self

import msgspec
from tests.faults.server import Deployment
from tests.linearizability.checker import NEVER, Operation
from tests.linearizability.model import shown, version_of

from headway.client.errors import ConnectionLost
from headway.client.transport import Response, Transport

VERBS = (
    *["get"] * 8, "suspend", "suspend", "resume", "resume", "protect", "unprotect", *["rename"] * 4, *["prioritise"] * 3,
)  # fmt: skip
GIVES_UP = 0.3
"""How often a client whose connection broke does not ask again: then nobody knows whether it happened."""


class Clients:
    """Threads with a connection to each server, on a few runs at a time, so that they meet."""

    def __init__(self, *deployments: Deployment, operations: int, threads: int = 6, seed: int = 0) -> None:
        """All of them together do so many operations, at the servers of one store that these places have."""
        self._places = deployments
        self._left = itertools.count(1)
        self._operations, self._seed = operations, seed
        self._threads = [threading.Thread(target=self._live, args=(number,), daemon=True) for number in range(threads)]
        self._runs: list[str] = []
        self.history: list[Operation] = []
        """`list.append` is atomic."""
        self.odd: list[str] = []
        """Answers that should not be."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _live(self, client: int) -> None:
        rng = random.Random(self._seed * 100 + client)
        first = client % len(self._places)
        http = [deployment.connect() for deployment in (*self._places[first:], *self._places[:first])]
        seen: dict[str, int] = {}
        while next(self._left) <= self._operations and not self.odd:
            if len(self._runs) < 2 or rng.random() < 0.02:
                self._start(http, rng, client)
                continue
            run_id = rng.choice(self._runs[-4:])
            verb = "terminate" if rng.random() < 0.01 else rng.choice(VERBS)
            self._one(http, rng, client, run_id, verb, seen)

    def _start(self, http: list[Transport], rng: random.Random, client: int) -> None:
        began, priority = time.monotonic(), rng.randrange(10)
        body = {"task": "job", "name": "n0", "priority": priority}
        while True:  # a start that is given up has no id, and nothing to say about it
            answer, _ = self._sent(http, rng, "POST", "/v1/runs", body, may_give_up=False)
            assert answer is not None
            if answer.status in {200, 202}:
                break
        found = msgspec.json.decode(answer.body)
        replayed = "idempotency-replayed" in answer.headers
        told = None if replayed else shown(found)
        self.history.append(Operation(found["id"], client, "start", began, time.monotonic(), priority, told))
        self._runs.append(found["id"])

    def _one(
        self, http: list[Transport], rng: random.Random, client: int, run_id: str, verb: str, seen: dict[str, int]
    ) -> None:
        given: Any = None
        method, path, body, headers = "POST", f"/v1/runs/{run_id}:{verb}", {}, {}
        if verb == "get":
            method, path, body = "GET", f"/v1/runs/{run_id}", None
        elif verb in {"rename", "prioritise"}:
            version = seen.get(run_id) if rng.random() < 0.7 else None
            value: Any = f"n{rng.randrange(10**6)}" if verb == "rename" else rng.randrange(10)
            given, method, path = (version, value), "PATCH", f"/v1/runs/{run_id}"
            body = {"name": value} if verb == "rename" else {"priority": value}
            headers = {} if version is None else {"If-Match": f'"{version}"'}
        began = time.monotonic()
        answer, last = self._sent(http, rng, method, path, body, **headers)
        ended = time.monotonic()

        def note(verb: str, began: float, ended: float, told: Any) -> None:
            self.history.append(Operation(run_id, client, verb, began, ended, given, told))

        if answer is None:
            if verb != "get":
                note(verb, began, NEVER, None)
            return
        found = msgspec.json.decode(answer.body)
        if answer.status != 200:
            if answer.status not in {409, 412}:
                self.odd.append(f"{verb}: {answer.status} {answer.body[:300]!r}")
            note(verb, began, ended, found["code"])
        elif "idempotency-replayed" in answer.headers:  # it had happened before; the answer is the run as it is now
            note(verb, began, ended, None)
            note("get", last, ended, shown(found))
        else:
            note(verb, began, ended, shown(found))
        seen_version = version_of(shown(found)) if answer.status == 200 else None
        if seen_version is not None:
            seen[run_id] = seen_version

    def _sent(
        self, http: list[Transport], rng: random.Random, method: str, path: str, body: Any, *, may_give_up: bool = True,
        **headers: str,
    ) -> tuple[Response | None, float]:  # fmt: skip
        """Send a request under a key until it is answered; return the answer and when it was sent last, or give up.

        Who is not answered goes on at the next server, as clients do.
        """
        if method != "GET":
            headers["Idempotency-Key"] = f"{rng.getrandbits(64):x}"
        data = None if body is None else msgspec.json.encode(body)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            sent = time.monotonic()
            try:
                answer = http[0].request(method, path, data, headers=headers)
            except ConnectionLost:
                if may_give_up and rng.random() < GIVES_UP:
                    return None, sent
                http.append(http.pop(0))
                threading.Event().wait(0.02)
                continue
            if answer.status != 503:
                return answer, sent
        raise AssertionError(f"{method} {path} was not answered within half a minute")
