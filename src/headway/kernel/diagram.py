"""Diagram of the table of transitions: Mermaid text for the documents."""

from __future__ import annotations

from headway.kernel.lifecycle import CAUSES, TRANSITIONS
from headway.kernel.run import FINAL, State


def mermaid() -> str:
    """Return a state diagram with one arrow for each pair of states, labelled with the events that lead there."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for state, row in TRANSITIONS.items():
        for event, targets in row.items():
            for target in targets:
                arrows.setdefault((state, target), []).append(CAUSES[event].replace("_", " "))
    lines = ["stateDiagram-v2", f"    [*] --> {State.QUEUED}", f"    [*] --> {State.SCHEDULED}: later"]
    lines += [f"    {source} --> {target}: {', '.join(causes)}" for (source, target), causes in arrows.items()]
    lines += [f"    {state} --> [*]" for state in State if state in FINAL]
    return "\n".join(lines)
