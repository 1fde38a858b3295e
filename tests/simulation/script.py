"""What simulated functions do: a script in the input, carried out against the leases that a worker has."""

from __future__ import annotations

import random
from typing import Any

Script = list[list[Any]]


def script(rng: random.Random, *, depth: int = 0) -> Script:
    """Draw what a function does before it returns."""
    return [_act(rng, depth) for _ in range(rng.choice((0, 1, 1, 2, 3)))]


def _act(rng: random.Random, depth: int) -> list[Any]:
    match rng.randrange(13 if depth < 2 else 11):
        case 0 | 1:
            return ["work", rng.choice((0.05, 0.5, 3.0))]
        case 2:
            return ["work", rng.choice((8.0, 30.0))]
        case 3:
            return ["log"]
        case 4:
            return ["progress"]
        case 5:
            return ["publish"]
        case 6:
            return ["step"]
        case 7:
            return ["sleep", rng.choice((0, 1_000, 15_000))]
        case 8:
            return ["wait", rng.choice((1, 1, 2)), rng.choice((2_000, 20_000))]
        case 9:
            return rng.choice((["fail", 1], ["fail", 2], ["fail", 9], ["give up"]))
        case 10:
            return rng.choice((["die", 1], ["die", 9], ["release"], ["break down", 1]))
        case _:
            return ["child", rng.choice(("plain", "keyed", "few")), script(rng, depth=depth + 1)]
