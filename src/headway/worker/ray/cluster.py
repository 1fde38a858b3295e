"""The Ray cluster as the worker sees it: where runs can be begun, stopped and heard from, while a driver has joined it.

The worker imports nothing of Ray; its driver does, a child process. When that ends, all that it had on Ray has crashed, and
another driver is started. As long as none has joined, the worker claims no Ray runs, and they wait in their queue.
"""

from __future__ import annotations

import selectors
import subprocess
import threading
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from headway.clock import Clock
from headway.wire.workers import LogReport
from headway.worker.attempt import Attempt
from headway.worker.frames import Answered, Cancel, FromChild
from headway.worker.interrupts import Cause
from headway.worker.launch import Launch
from headway.worker.outbox import Key
from headway.worker.outcome import of_cause
from headway.worker.payload import clean
from headway.worker.process import FIRST_TRY_S, LAST_TRY_S, ChildProcess
from headway.worker.ray.letters import (
    Began,
    Ended,
    FromDriver,
    Joined,
    Kill,
    Letter,
    Mail,
    Post,
    Recall,
    Submit,
    ToDriver,
    Waits,
)  # fmt: skip
from headway.worker.ray.options import Settings
from headway.worker.relay import Relay
from headway.worker.session import Backoff

_decode: Final = msgspec.json.Decoder(FromDriver).decode
_decode_frame: Final = msgspec.json.Decoder(FromChild).decode
_encode: Final = msgspec.json.Encoder().encode
MESSAGE_MAX: Final = 10_000
EXIT_S: Final = 5.0
"""How long a driver that has closed its socket may take to end."""


class _Stay:
    """A run on Ray, seen from the worker."""

    def __init__(self, attempt: Attempt, relay: Relay) -> None:
        self.attempt = attempt
        self.relay = relay
        self.node = ""
        self.told = False


class RayCluster:
    """`start`, `begin` runs while there is `capacity`, `close`."""

    def __init__(self, settings: Settings, launch: Launch, clock: Clock, say: Callable[[str], None]) -> None:
        """Not joined; `say` gets one line when that changes."""
        self._settings = settings
        self._launch = launch
        self._clock = clock
        self._say = say
        self._said = ""
        self._stays: dict[Key, _Stay] = {}
        self._lock = threading.Lock()
        """So that no run is handed to a driver whose runs were just given up."""
        self._child: ChildProcess | None = None
        self._joined: ChildProcess | None = None
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="headway-ray", daemon=True)
        self._rest = Backoff(FIRST_TRY_S, LAST_TRY_S)
        """Pause of claims for Ray after a node could not load the app: else the same runs would circle."""
        self._rests_until_ms = 0

    @property
    def capacity(self) -> int:
        """Runs that may be there at once; none as long as no driver has joined, or for a while after a node failed."""
        resting = self._clock.monotonic_ms() < self._rests_until_ms
        return self._settings.capacity if self._joined is not None and not resting else 0

    def start(self) -> None:
        """Join, and stay joined."""
        self._keeper.start()

    def begin(self, attempt: Attempt) -> None:
        """Have Ray execute it, as soon as it finds a place for it, which may be much later."""
        lease, relay = attempt.lease, Relay(attempt, lambda answer: self._post(attempt, answer))
        with self._lock:
            driver = self._joined
            if driver is not None:
                self._stays[attempt.key] = _Stay(attempt, relay)
                attempt.kill = lambda: self._kill(relay)
                attempt.interrupt = lambda cause: self._interrupt(attempt, cause)
        if driver is None:  # it was lost while the claim waited; others may have a cluster
            attempt.ended(attempt, of_cause(attempt.cause or Cause.DRAIN, lease))
            return
        driver.send(Submit(*attempt.key, lease.task, Raw(_encode(lease)), attempt.task.declaration.resources))
        if attempt.cause is not None:  # cancelled before there was someone to tell
            self._interrupt(attempt, attempt.cause)

    def close(self) -> None:
        """Leave the cluster; Ray ends what is still there."""
        self._closing.set()
        if self._child is not None:
            self._child.kill()

    # -- to the driver -------------------------------------------------------------------------------------------------

    def _send(self, letter: ToDriver) -> None:
        driver = self._joined
        if driver is not None and letter.key in self._stays:
            driver.send(letter)

    def _post(self, attempt: Attempt, frame: Answered | Cancel) -> None:
        self._send(Post(*attempt.key, Raw(_encode(frame))))

    def _interrupt(self, attempt: Attempt, cause: Cause) -> None:
        self._post(attempt, Cancel(cause))
        self._send(Recall(*attempt.key))

    def _kill(self, relay: Relay) -> None:
        relay.killed = True
        self._send(Kill(*relay.attempt.key))

    # -- from the driver -----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        # The child dies with the thread that has started it, so this one stays.
        backoff = Backoff(0.5, 30.0)
        while not self._closing.is_set():
            try:
                self._child = child = ChildProcess(
                    self._launch, "headway.worker.ray.driver", _encode(self._settings).decode(), self._clock
                )
            except OSError as error:
                self._tell(f"no Ray driver can be started: {error}")
            else:
                if self._closing.is_set():
                    child.kill()
                self._attend(child)
                if self._joined is not None:
                    backoff.reset()
                self._lose(child)
                child.close()
            self._closing.wait(backoff.next_s())

    def _attend(self, driver: ChildProcess) -> None:
        """Pass everything on until the driver ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(driver.pipe, selectors.EVENT_READ, "pipe")
            selector.register(driver.output, selectors.EVENT_READ, "output")
            while True:
                ready = {key.data for key, _ in selector.select()}
                if "output" in ready and not driver.forward():
                    selector.unregister(driver.output)
                if "pipe" in ready:
                    if not driver.pipe.read_some():
                        return
                    for frame in driver.pipe.frames():
                        self._heed(driver, _decode(frame))

    def _heed(self, driver: ChildProcess, letter: FromDriver) -> None:
        if isinstance(letter, Joined):
            self._join(driver, letter)
        elif (stay := self._stays.get(letter.key)) is not None:
            self._hear(stay, letter)

    def _join(self, driver: ChildProcess, letter: Joined) -> None:
        where = self._settings.address
        if letter.problem:
            self._tell(f"no Ray cluster takes this worker at {where!r}; it tries again: {letter.problem}")
        else:
            self._joined = driver
            self._tell(f"joined the Ray cluster at {where!r}, of {letter.nodes} nodes")

    def _hear(self, stay: _Stay, letter: Letter) -> None:
        match letter:
            case Mail(frame=frame):
                stay.attempt.alive()
                try:
                    stay.relay.heed(_decode_frame(frame))
                except msgspec.MsgspecError:  # another version of Headway is on that node
                    self._kill(stay.relay)
            case Began(node=node):
                stay.node = node
                if stay.told:
                    self._log(stay, f"The run has begun on Ray node {node}.")
                stay.attempt.begun()
            case Waits(message=message):
                stay.told = True
                self._log(stay, message)
            case Ended(died=died):
                where = f" on node {stay.node}" if stay.node else ""
                self._conclude(stay, f"The Ray task ended{where} before the function returned. {died}".strip())

    def _lose(self, driver: ChildProcess) -> None:
        """Give up what a driver had on Ray."""
        with self._lock:
            joined, self._joined = self._joined, None
            stays = list(self._stays.values())
        try:
            driver.process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            driver.kill()
        obituary = driver.obituary()
        while driver.forward():
            pass
        driver.throttle.finish()
        if joined is not None and not self._closing.is_set():
            self._tell(f"the connection with the Ray cluster is lost; it joins again: {obituary}")
        for stay in stays:
            self._conclude(stay, f"The connection with the Ray cluster was lost. {obituary}")

    def _conclude(self, stay: _Stay, obituary: str) -> None:
        attempt = stay.attempt
        self._stays.pop(attempt.key, None)
        attempt.interrupt = attempt.kill = None
        if stay.relay.problem:
            self._rests_until_ms = self._clock.monotonic_ms() + round(self._rest.next_s() * 1000)
            self._say(f"a Ray node cannot load the app, and its run is handed back: {stay.relay.problem}")
        elif stay.relay.done is not None:
            self._rest.reset()
        attempt.ended(attempt, stay.relay.outcome(clean(obituary, MESSAGE_MAX)))

    def _log(self, stay: _Stay, message: str) -> None:
        run_id, epoch = stay.attempt.key
        stay.attempt.sink.put(LogReport(run_id=run_id, epoch=epoch, message=message))

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)
