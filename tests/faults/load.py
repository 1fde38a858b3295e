"""Clients that go on starting runs, whatever becomes of the server, and note what was acknowledged."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Self

import msgspec
from tests.faults.server import Deployment

from headway.client.errors import ConnectionLost
from headway.client.transport import Transport


class Load:
    """Open loop: starts come at their own pace, not when the server has answered the one before.

    A start that is not answered is sent again with its key, as a client would do, until it is or the load ends; then
    nobody knows what became of it, and both outcomes are right.
    """

    def __init__(
        self,
        deployment: Deployment,
        *others: Deployment,
        tasks: Sequence[str],
        rate: float,
        ms: int = 20,
        submitters: int = 4,
        **given: str,
    ) -> None:
        """`rate` is in starts a second, over all submitters; `ms` is the longest that a run works, `given` what else it has.

        With `others` there are several servers: who fails at one goes on to the next, as a client does.
        """
        self._place, self._places, self._tasks, self._ms = deployment, (deployment, *others), tasks, ms
        self._given = given
        self._gap_s = submitters / rate
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._submit, args=(n,), daemon=True) for n in range(submitters)]
        self.odd: list[str] = []
        """Answers that should not be: anything but success, and 503 that says when to come again."""
        self.later: Counter[str] = Counter()
        """How often a start was put off, by the code of the problem."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _submit(self, number: int) -> None:
        servers = deque(deployment.connect() for deployment in self._places)
        servers.rotate(number)
        due = time.monotonic()
        while not self._over.is_set():
            self._start(servers, next(self._numbers))
            due = max(due + self._gap_s, time.monotonic() - 1)
            self._over.wait(max(0.0, due - time.monotonic()))

    def _start(self, servers: deque[Transport], n: int) -> None:
        task = random.choice(self._tasks)
        body = msgspec.json.encode(
            {"task": task, "input": {"n": n, "ms": random.randrange(self._ms + 1)}, **self._given}
        )
        headers = {"Idempotency-Key": f"n-{n}"}
        self._place.ledger.note("asked", n=n)
        while not self._over.is_set():
            try:
                answer = servers[0].request("POST", "/v1/runs", body, headers=headers)
            except ConnectionLost:
                servers.rotate()
                self._over.wait(0.05)
                continue
            if answer.status in {200, 202}:
                self._place.ledger.note("acknowledged", n=n, run_id=msgspec.json.decode(answer.body)["id"])
                return
            if answer.status != 503 or "retry-after" not in answer.headers:
                self.odd.append(f"{answer.status} {answer.body[:300]!r}")
                return
            self.later[msgspec.json.decode(answer.body)["code"]] += 1
            servers.rotate()
            self._over.wait(0.1)
