"""Clients that start, watch and wait without pause, and note errors."""

import threading

import headway


class Users:
    """SDK clients that start runs and wait for their results, one after the other, until told to stop."""

    def __init__(self, deployment, number, *others):
        self.failures, self.done = [], 0
        self._place, self._over = deployment, threading.Event()
        self._known = [found.url for found in (deployment, *others)]
        self._threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(number)]

    def _work(self, number):
        with headway.Client(self._known) as client:
            n = number * 100_000
            while not self._over.is_set():
                n += 1
                try:
                    run = client.runs.start("effect", n=n, ms=20)
                    self._place.ledger.note("acknowledged", n=n, run_id=run.id)
                    assert run.result(60) == n
                    client.runs.count()
                    self.done += 1
                except Exception as error:  # noqa: BLE001 - whatever a user sees is a failure
                    self.failures.append(f"{type(error).__name__}: {error}")
                    return

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(70)
