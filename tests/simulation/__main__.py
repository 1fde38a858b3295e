"""Runs seeds: `python -m tests.simulation --seed 123 --trace`, or `--seeds 0:2000`."""

from __future__ import annotations

import argparse
import sys
import time

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
    first, last = (asked.seed, asked.seed + 1) if asked.seeds is None else map(int, asked.seeds.split(":"))
    return several(range(first, last), asked.steps, trace=asked.trace, first=asked.first)


def several(seeds: range, steps: int, *, trace: bool = False, first: bool = False) -> int:
    """Run seeds, print what came of each that failed and of all together."""
    began, failed, runs, lines, deaths, tried = time.monotonic(), [], 0, 0, 0, 0
    for seed in seeds:
        tried += 1
        try:
            outcome = Simulation(seed, steps=steps, tell=sys.stdout.write if trace else None).run()
        except Failed as error:
            failed.append(seed)
            print(error, flush=True)
            if first:
                break
            continue
        runs, lines, deaths = runs + outcome.runs, lines + outcome.lines, deaths + outcome.deaths
        if len(seeds) == 1:
            print(outcome)
    took = time.monotonic() - began
    print(
        f"{tried} seeds in {took:.1f} s: {runs} runs, {lines} lines of history, {deaths} deaths of the server; "
        f"failed: {failed or 'none'}"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
