"""Clients that go on starting runs, whatever becomes of the server, and note what was acknowledged."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Sequence
from typing import Self

import msgspec
from tests.faults.server import Place

from headway.client.errors import ConnectionLost
from headway.client.transport import Transport

RETRY = frozenset({429, 500, 502, 503, 504})


class Load:
    """Open loop: starts come at their own pace, not when the server has answered the one before.

    A start that is not answered is sent again with its key, as a client would do, until it is or the load ends; then
    nobody knows what became of it, and both outcomes are right.
    """

    def __init__(self, place: Place, *, tasks: Sequence[str], rate: float, ms: int = 20, submitters: int = 4) -> None:
        """`rate` is in starts a second, over all submitters; `ms` is the longest that a run works."""
        self._place, self._tasks, self._ms = place, tasks, ms
        self._gap_s = submitters / rate
        self._numbers = itertools.count(1)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._submit, daemon=True) for _ in range(submitters)]
        self.odd: list[str] = []
        """Answers that should not be: anything but success and 503."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _submit(self) -> None:
        http = self._place.connect()
        due = time.monotonic()
        while not self._over.is_set():
            self._start(http, next(self._numbers))
            due = max(due + self._gap_s, time.monotonic() - 1)
            self._over.wait(max(0.0, due - time.monotonic()))

    def _start(self, http: Transport, n: int) -> None:
        task = random.choice(self._tasks)
        body = msgspec.json.encode({"task": task, "input": {"n": n, "ms": random.randrange(self._ms + 1)}})
        headers = {"Idempotency-Key": f"n-{n}"}
        self._place.ledger.note("asked", n=n)
        while not self._over.is_set():
            try:
                answer = http.request("POST", "/v1/runs", body, headers=headers)
            except ConnectionLost:
                self._over.wait(0.05)
                continue
            if answer.status in {200, 202}:
                self._place.ledger.note("acknowledged", n=n, run_id=msgspec.json.decode(answer.body)["id"])
                return
            if answer.status != 503:
                self.odd.append(f"{answer.status} {answer.body[:300]!r}")
                return
            self._over.wait(0.1)
