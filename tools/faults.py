"""Write docs/faults.md: what was done to Headway and to others, how often, and what became of what they had acknowledged.

    python tools/faults.py           say whether the page is what the kept results make
    python tools/faults.py --write   write it
    python tools/faults.py --take results.jsonl
                                     keep what that file says of the faults that it tells of, instead of what was kept of
                                     them, and write the page

Results are lines that the fault tests add to the file that HEADWAY_FAULT_RESULTS names (see tests/faults/results.py).
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "tests/faults/results.jsonl"
PAGE = ROOT / "docs/faults.md"

HEAD = """\
# Results of the fault tests

Written by `tools/faults.py` from `tests/faults/results.jsonl`, to which the fault tests add a line each. They run real
servers, workers and databases, break them under load, and compare the store with a ledger outside of it.
[Fault tests of the promises](explanation/fault-tests.md) describes them, and the seeded bugs that show that they can fail. *Tries*
is the number of injected faults, *acknowledged* the number of acknowledged requests, *lost* the number of those without their effect
or without an end, and *doubled* the number of starts that made two runs, runs that ended twice, events that a stream sent
twice or not in order, or records changed twice. Where clients change the same runs, *acknowledged* counts answers, *lost*
runs whose answers no order explains, and *doubled* versions that went back; where schedules fire, slots are counted, and where
rows are imported or records changed, rows and changes. Of a simulated store each try is a seed, and runs are counted.
To repeat it:

    HEADWAY_FAULT_RESULTS=results.jsonl ./test --long tests/faults tests/servers tests/linearizability tests/simulation

| what was done | store | tries | acknowledged | lost | doubled | last tried | of |
|---|---|---:|---:|---:|---:|---|---|
"""
STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "simulated": "simulated"}
ADDED = ("tries", "acknowledged", "lost", "doubled")

PEERS = """
## Beside others

The same load and the same faults, by `python -m tests.faults.peers`: {tasks} tasks that take {ms} ms each, started at a
steady pace; each killed process was started again at once, as a supervisor does. *What executes* is the worker, and of Headway
its server as well. Each was tried once, on {date}, on one machine of two cores: the losses count, the times are no benchmark.
*Lost* is the number of acknowledged tasks that were not done {patience_s:g} s after the last fault, *again* the number of tasks done
more than once, which all of these systems allow. *Back after* is the time from the last fault to the end of the last task. After a kill of
what executes Headway first takes the silence for a pause (15 s of a worker, and before them 7 s of a server on a database), so that
the work of a slow worker is not begun a second time.

| what was done | system | acknowledged | lost | again | back after | settings |
|---|---|---:|---:|---:|---:|---|
"""


def summed(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put lines of one fault on one store together, in the order in which they first came."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        groups[line["fault"], line["store"]].append(line)
    return [
        {**max(group, key=lambda line: line["date"]), **{name: sum(line[name] for line in group) for name in ADDED}}
        for group in groups.values()
    ]


def page(lines: list[dict[str, Any]]) -> str:
    """Return the page that the results make."""
    ours = [line for line in lines if "peer" not in line]
    written = HEAD
    for line in sorted(summed(ours), key=lambda line: (line["fault"], line["store"])):
        counts = " | ".join(f"{line[name]:,}" for name in ADDED)
        written += f"| {line['fault']} | {STORES[line['store']]} | {counts} | {line['date']} | `{line['commit']}` |\n"
    beside = [line for line in lines if "peer" in line]
    if beside:
        written += PEERS.format(**beside[0]["peer"], date=max(line["date"] for line in beside))
        for line in sorted(beside, key=lambda line: (line["fault"], line["system"])):
            back = "never" if line["lost"] else f"{line['back_s']:.1f} s"
            written += (
                f"| {line['fault']} | {line['system']} | {line['acknowledged']:,} | {line['lost']:,} | {line['again']:,} | "
                f"{back} | {line['settings']} |\n"
            )
    return written


def taken(kept: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results to keep when new ones have come: a fault that was tried again is told as it went this time."""
    new = list(new)
    again = summed(line for line in new if "peer" not in line) + [line for line in new if "peer" in line]
    tried = {(line["fault"], line["store"], line["system"]) for line in again}
    return [line for line in kept if (line["fault"], line["store"], line["system"]) not in tried] + again


def read(path: Path) -> list[dict[str, Any]]:
    """Return the results in a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> int:
    """Write the page or hold it against the results."""
    if sys.argv[1:2] == ["--take"]:
        lines = taken(read(RESULTS), read(Path(sys.argv[2])))
        RESULTS.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    made = page(read(RESULTS))
    if sys.argv[1:2] in (["--write"], ["--take"]):
        PAGE.write_text(made, encoding="utf-8")
        return 0
    same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == made
    if not same:
        print("docs/faults.md is not what the results make: python tools/faults.py --write")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
