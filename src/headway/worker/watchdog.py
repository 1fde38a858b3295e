"""The thread that watches the time: timeouts, graces, leases that can no longer be trusted, and the worker's own end.

It is a thread of its own because user code may block the loop, and a claim or a report may block the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from headway.clock import Clock
from headway.protocol.workers import AnyReport, StoppedReport
from headway.worker.attempts.attempt import Attempt
from headway.worker.attempts.running import UNWIND_MS, RunningAttempts
from headway.worker.context.interrupts import Cause
from headway.worker.context.outcome import of_cause
from headway.worker.context.report_buffer import Key
from headway.worker.processes.exits import DRAINED_CODE, RELOAD_CODE, RESTART_CODE
from headway.worker.protocol.session import Session

DEAF_MS: Final = 500
"""Time in milliseconds without a turn of the loop after which no function on it ends any more, if one does not end."""
FLUSH_MS: Final = 5_000
"""Longest wait for the acknowledgement of the last reports, in milliseconds."""
CLOSE_MS: Final = 2_000
"""Longest wait for the answer to the last claim after the server was told of the drain, in milliseconds."""
LOOK_AGAIN_MS: Final = 50


class Phase(StrEnum):
    """Phase of the worker's end."""

    OPEN = "open"
    """The worker claims."""
    DRAINING = "draining"
    """The worker lets running functions finish."""
    UNWINDING = "unwinding"
    """The worker has cancelled the remaining functions."""
    FLUSHING = "flushing"
    """The worker has handed back the remaining runs and waits for the last acknowledgements."""
    OVER = "over"


class Watchdog:
    """Applies deadlines to the watched attempts, and takes the worker through the phases of its end."""

    def __init__(
        self,
        attempts: RunningAttempts,
        session: Session,
        clock: Clock,
        *,
        drain_grace_ms: int,
        closed: Callable[[], None],
        finish: Callable[[int], None],
    ) -> None:
        """Call `closed` when claiming is to stop, and `finish` with the exit code when all is done."""
        self._attempts = attempts
        self._session = session
        self._clock = clock
        self._drain_grace_ms = drain_grace_ms
        self._closed = closed
        self._finish = finish
        self._ordered = False
        self._at_once = False
        self._reloading = False
        self._asked = False
        self._stubborn: dict[Key, AnyReport | None] = {}
        """Functions that did not end in time and cannot be killed, and the reports sent when this process ends them."""
        self._until_ms = 0
        self._closed_ms = 0
        self.phase = Phase.OPEN
        self.exit_code = 0

    def drain(self, *, at_once: bool = False) -> None:
        """Close the worker: functions may finish, or are cancelled `at_once`. Safe in a signal handler."""
        self._ordered = True
        self._at_once = self._at_once or at_once

    def reload(self) -> None:
        """Close the worker so that it is started again: functions are cancelled, and their runs handed back."""
        self._reloading = self._ordered = True
        self._attempts.changed.set()

    def ask(self) -> None:
        """Close the worker as its server asks: only people mean "at once" by asking again."""
        self._asked = True
        self._attempts.changed.set()

    def run(self) -> None:
        """Watch until the worker has ended."""
        changed: threading.Event = self._attempts.changed
        while not self.over:
            changed.clear()
            due_ms = self.tick()
            self._attempts.state.look()
            if not self.over:
                changed.wait(min(0.2, max(0.005, (due_ms - self._clock.monotonic_ms()) / 1000)))

    @property
    def over(self) -> bool:
        """True once the worker has ended."""
        return self.phase is Phase.OVER

    def tick(self) -> int:
        """Apply all deadlines that are due; return the monotonic time of the next look."""
        now_ms = self._clock.monotonic_ms()
        if now_ms >= self._session.lapses_ms() and self.phase is not Phase.FLUSHING:
            # Nothing was heard for as long as a lease lasts: others may have these runs by now.
            ended = self._attempts.lapse_all()
            if ended:
                self._session.tell_lapse(ended)
        due = [now_ms + 1_000, *(self._look(attempt, now_ms) for attempt in list(self._attempts.watched.values()))]
        self._end(now_ms)
        return min(due)

    def _look(self, attempt: Attempt, now_ms: int) -> int:
        later_ms = now_ms + 1_000
        if attempt.cause is None:
            if attempt.deadline_ms is not None and now_ms >= attempt.deadline_ms:
                self._attempts.cancel(attempt, Cause.TIMEOUT, attempt.task.grace_ms)
                return now_ms
            quiet_ms = attempt.task.heartbeat_timeout_ms
            silent_ms = None if attempt.active_ms is None or quiet_ms is None else attempt.active_ms + quiet_ms
            if silent_ms is not None and now_ms >= silent_ms:
                self._attempts.cancel(attempt, Cause.HEARTBEAT_TIMEOUT, attempt.task.grace_ms)
                return now_ms
            return min(attempt.deadline_ms or later_ms, silent_ms or later_ms)
        if attempt.escalate_ms is None:
            return later_ms
        if now_ms >= attempt.escalate_ms:
            return self._escalate(attempt, now_ms)
        return attempt.escalate_ms

    def _escalate(self, attempt: Attempt, now_ms: int) -> int:
        if attempt.kill is not None:
            attempt.escalate_ms = None
            attempt.kill()
        elif attempt.killable:
            return now_ms + LOOK_AGAIN_MS  # its child is just being started
        elif attempt.cause in {Cause.LOST, Cause.LAPSED, Cause.DRAIN}:
            attempt.escalate_ms = None  # nothing more will be said of it
        else:
            # The thread or the loop it holds cannot be freed; only the end of this process ends it. The others on it
            # have done no harm: they may finish first. Until then the run is still reported as running.
            assert attempt.cause is not None, "only cancelled attempts are escalated"
            outcome = of_cause(attempt.cause, attempt.lease)
            if isinstance(outcome, StoppedReport):
                outcome = msgspec.structs.replace(outcome, killed=True)
            attempt.escalate_ms = None
            self._stubborn[attempt.key] = outcome
            self.exit_code = RESTART_CODE
        return now_ms

    def _may_finish(self) -> bool:
        """Tell whether anything runs that can still come to its end by itself."""
        running = list(self._attempts.running.values())
        if not self._stubborn:
            return bool(running)
        # A loop that something else keeps busy may still turn; one that a stubborn function blocks will not.
        deaf = any(attempt.on_loop for attempt in running if attempt.key in self._stubborn) and (
            self._attempts.inline.held_ms() >= DEAF_MS
        )
        return any(attempt.key not in self._stubborn and not (deaf and attempt.on_loop) for attempt in running)

    def _let_go(self, attempt: Attempt) -> None:
        """Report for what the end of this process ends."""
        if attempt.key in self._stubborn:
            self._attempts.give_up(attempt, self._stubborn[attempt.key])
        else:
            self._attempts.hand_back(attempt)

    def _end(self, now_ms: int) -> None:
        """Go as many phases on as are due."""
        attempts = self._attempts
        if self.phase is Phase.OPEN and (self._ordered or self._asked or self._stubborn):
            if self._asked and not (self._ordered or self._stubborn):
                self.exit_code = DRAINED_CODE
            if self._reloading and not self._stubborn:
                self.exit_code = RELOAD_CODE
            self._enter(Phase.DRAINING, now_ms + (0 if self._reloading else self._drain_grace_ms))
            self._closed_ms = now_ms
            attempts.closing = True
            attempts.wake()
            self._closed()
        if self.phase is Phase.DRAINING and self._due(now_ms):
            self._enter(Phase.UNWINDING, now_ms + (0 if self._at_once else UNWIND_MS))
            for attempt in list(attempts.running.values()):
                attempts.cancel(attempt, Cause.DRAIN, UNWIND_MS)
        if self.phase is Phase.UNWINDING and self._due(now_ms):
            self._enter(Phase.FLUSHING, now_ms + FLUSH_MS)
            for attempt in list(attempts.running.values()):
                self._let_go(attempt)
        quiet = not attempts.held and (not attempts.claiming or now_ms >= self._closed_ms + CLOSE_MS)
        if self.phase is Phase.FLUSHING and (quiet or now_ms >= self._until_ms):
            self.phase = Phase.OVER
            self._finish(self.exit_code)

    def _due(self, now_ms: int) -> bool:
        """Tell whether the phase that waits for functions is over."""
        return self._at_once or now_ms >= self._until_ms or not self._may_finish()

    def _enter(self, phase: Phase, until_ms: int) -> None:
        self.phase = phase
        self._until_ms = until_ms
