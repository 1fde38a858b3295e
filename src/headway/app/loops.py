"""Loops of a server, and the events that wake them."""

from __future__ import annotations

from headway.app.features import FEATURES
from headway.loops.bookkeeper import Bookkeeper
from headway.loops.loop import Loop
from headway.loops.pruner import EVERY_MS, Pruner
from headway.loops.pulse import Pulse
from headway.loops.rescuer import Rescuer
from headway.loops.stager import Stager
from headway.loops.timekeeper import Timekeeper
from headway.service.servers import PULSE_MS
from headway.service.service import Service


def begin_loops(service: Service) -> list[Loop]:
    """Start the loops of a server; each is woken by the events that it names in `wakes_on`."""
    running = [
        Loop(Stager(service)),
        Loop(Rescuer(service)),
        Loop(Pruner(service), longest_s=EVERY_MS / 1000),
        *(Loop(make(service)) for feature in FEATURES for make in feature.loops),
        Loop(Bookkeeper(service)),
    ]
    if service.store.peers is not None:
        # Others take it for gone before a longer wait is over.
        running.append(Loop(Pulse(service), back_off_max_s=PULSE_MS / 1000))

    def look_again() -> None:
        for loop in running:
            loop.wake()

    running.append(Loop(Timekeeper(service, look_again)))
    for loop in running:
        loop.subscribe(service.store.events, service.store.clock)
        loop.start()
    return running
