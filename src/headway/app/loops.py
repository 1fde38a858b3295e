"""Which loops a server runs, and what wakes them."""

from __future__ import annotations

from headway.loops.bookkeeper import Bookkeeper
from headway.loops.loop import Loop
from headway.loops.pruner import EVERY_MS, Pruner
from headway.loops.pulse import Pulse
from headway.loops.rescuer import Rescuer
from headway.loops.scheduler import Scheduler
from headway.loops.stager import Stager
from headway.loops.timekeeper import Timekeeper
from headway.service.servers import PULSE_MS
from headway.service.service import Service


def begin_loops(service: Service) -> list[Loop]:
    """Start the loops of a server, each woken by what is committed."""
    store, clock = service.store, service.store.clock
    rescuing = Rescuer(service)
    stager, rescuer, pruner = Loop(Stager(service)), Loop(rescuing), Loop(Pruner(service), longest_s=EVERY_MS / 1000)
    scheduler = Loop(Scheduler(service))

    def deadline(at_ms: int) -> None:
        rescuing.note(at_ms)
        rescuer.wake(at_ms - clock.now_ms())

    store.on_due = lambda at_ms: stager.wake(at_ms - clock.now_ms())
    store.on_deadline = deadline
    store.on_slot = lambda at_ms: scheduler.wake(at_ms - clock.now_ms())
    service.sessions.on_change = lambda: rescuer.wake(service.settings.disconnect_ms)
    service.on_alarm = lambda at_ms: stager.wake(at_ms - clock.now_ms())
    running = [stager, rescuer, pruner, scheduler, Loop(Bookkeeper(service))]
    if store.peers is not None:

        def heard() -> None:
            """Look again: another server may have set a time, or be gone with those that it had to keep."""
            stager.wake()
            scheduler.wake()
            deadline(clock.now_ms())

        store.on_heard = heard
        # Others take it for gone before a longer wait is over.
        running.append(Loop(Pulse(service), back_off_max_s=PULSE_MS / 1000))

    def look_again() -> None:
        for loop in running:
            loop.wake()

    running.append(Loop(Timekeeper(service, look_again)))
    for loop in running:
        loop.start()
    return running
