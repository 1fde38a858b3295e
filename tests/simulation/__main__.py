"""Runs seeds: `python -m tests.simulation --seed 123 --trace`, or `--seeds 0:2000`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from tests.simulation.many import outcomes
from tests.simulation.simulation import STEPS, Failed, Simulation


def main() -> int:
    """Run what was asked for; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("--seeds", metavar="FROM:TO", help="run all of these, to find one that fails")
    parser.add_argument("--steps", type=int, default=STEPS, help="for how many virtual seconds things go wrong")
    parser.add_argument("--first", action="store_true", help="stop at the first seed that fails")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    asked = parser.parse_args()
    if (asked.seed is None) == (asked.seeds is None):
        parser.error("give either --seed or --seeds")
    if asked.seed is not None:
        return one(asked.seed, asked.steps, trace=asked.trace)
    first, last = map(int, asked.seeds.split(":"))
    return several(range(first, last), asked.steps, first=asked.first)


def one(seed: int, steps: int, *, trace: bool) -> int:
    """Run a seed, print what came of it, and, if that is wanted, all that happened."""
    try:
        print(Simulation(seed, steps=steps, tell=sys.stdout.write if trace else None).run())
    except Failed as error:
        print(error)
        return 1
    return 0


def several(seeds: range, steps: int, *, first: bool) -> int:
    """Run seeds, print what came of each that failed and of all together."""
    began, failed, runs, lines, deaths, tried = time.monotonic(), [], 0, 0, 0, 0
    with contextlib.closing(outcomes(seeds, steps)) as found:
        for seed, outcome in found:
            tried += 1
            if isinstance(outcome, Failed):
                failed.append(seed)
                print(outcome, flush=True)
                if first:
                    break
                continue
            runs, lines, deaths = runs + outcome.runs, lines + outcome.lines, deaths + outcome.deaths
    took = time.monotonic() - began
    print(
        f"{tried} seeds in {took:.1f} s: {runs} runs, {lines} lines of history, {deaths} deaths of the server; "
        f"failed: {failed or 'none'}"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
