"""Many seeds, by as many processes as there are processors: a seed comes to the same in any of them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from functools import partial
from typing import Final

from tests.simulation.simulation import STEPS, Failed, Outcome, Simulation

AT_ONCE = 10
"""Seeds that a process is given together: few, so that none has the last ones for itself."""
GIVES_WAY: Final = 19
"""The niceness of these processes. Their time is virtual; a test beside them that measures real time needs the processors more."""


def outcomes(seeds: range, steps: int = STEPS) -> Iterator[tuple[int, Outcome | Failed]]:
    """Yield each seed with what it has come to, in their order."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(len(os.sched_getaffinity(0)), os.nice, (GIVES_WAY,)) as pool:
        yield from zip(seeds, pool.imap(partial(outcome, steps=steps), seeds, AT_ONCE), strict=True)


def outcome(seed: int, *, steps: int) -> Outcome | Failed:
    """Return what a seed has come to."""
    try:
        return Simulation(seed, steps=steps).run()
    except Failed as error:
        return error
