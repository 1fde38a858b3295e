"""The weather of one seed: which faults there are in it, and how often each.

Faults are not all there in each seed: many bugs need that one thing happens often, and that another does not happen at
all (swarm testing, Groce and others 2012). What is drawn here is drawn before anything else.
"""

from __future__ import annotations

import random

import msgspec

FAULTS = {
    # of the network, for each message
    "drop_request": 0.15,
    "drop_answer": 0.15,
    "duplicate": 0.15,
    "delay": 0.2,
    "break_stream": 0.1,
    # of the disk, for each transaction
    "locked": 0.05,
    "full": 0.03,
    "broken": 0.01,
    "death_at_statement": 0.01,
    "death_before_commit": 0.015,
    "death_after_commit": 0.015,
    # of an attempt: its function does not hear that it is to stop
    "deaf": 0.5,
    # for each worker, each second
    "worker_stands_still": 0.03,
    "worker_dies": 0.03,
    "worker_lies": 0.3,
    "worker_goes": 0.02,
    # for the server, each second
    "server_stands_still": 0.02,
    "server_dies": 0.04,
    "wall_clock_jumps": 0.05,
}
"""Each fault, and the most likely that it gets."""


class FaultRates(msgspec.Struct):
    """How likely each fault is."""

    chances: dict[str, float]

    def hits(self, rng: random.Random, fault: str) -> bool:
        """Tell whether the fault happens now."""
        chance = self.chances[fault]
        return chance > 0 and rng.random() < chance

    @property
    def is_calm(self) -> bool:
        """Whether nothing fails any more."""
        return not any(self.chances.values())

    def calm(self) -> None:
        """From now on nothing fails any more."""
        self.chances = dict.fromkeys(FAULTS, 0.0)


def rates(rng: random.Random) -> FaultRates:
    """Draw the weather: about half of all faults, each somewhere between rare and its most."""
    return FaultRates({fault: most * rng.random() if rng.random() < 0.5 else 0.0 for fault, most in FAULTS.items()})
