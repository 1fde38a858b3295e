"""Ray resources of a task: `num_cpus`, `num_gpus`, `memory`, and the custom resources of the user's own cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from headway.worker.declaration.options import to_bytes

Resources = Mapping[str, float]

_NATIVE: Final = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
"""Ray's own resources: name in a task → name on a node."""
_TAKEN: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "object_store_memory": ""}


def checked(resources: Mapping[str, float | str]) -> dict[str, float]:
    """Return the amounts as numbers; raise ValueError for what Ray would refuse, here and not in the first run."""
    return {name: _amount(name, amount) for name, amount in resources.items()}


def as_options(resources: Resources) -> dict[str, Any]:
    """Return the options of a Ray task."""
    native = {name: amount for name, amount in resources.items() if name in _NATIVE}
    if "memory" in native:
        native["memory"] = int(native["memory"])
    return {**native, "resources": {name: amount for name, amount in resources.items() if name not in _NATIVE}}


def demand(resources: Resources) -> dict[str, float]:
    """Return the resources that a node must have, by their names on nodes; Ray's default is one CPU."""
    resources = {"num_cpus": 1.0, **resources}
    return {_NATIVE.get(name, name): amount for name, amount in resources.items() if amount}


def placement_message(resources: Resources, nodes: list[dict[str, float]], free: Mapping[str, float]) -> str:
    """Return a message about the resources a task waits for, given those of each idle node and the free ones of the cluster."""
    wanted = demand(resources)
    said = ", ".join(f"{name} {amount:g}" for name, amount in wanted.items()) or "no resources"
    if not any(_covers(node, wanted) for node in nodes):
        return f"The run waits for Ray resources that no node of the cluster has: {said}. It begins when such a node joins."
    if not _covers(free, wanted):
        return f"The run waits for Ray resources that others hold: {said}."
    return f"The run waits for Ray to make a process for it ({said}); or no single node has all of that free."


def _covers(offered: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(offered.get(name, 0) >= amount for name, amount in wanted.items())


def _amount(name: str, amount: float | str) -> float:
    if not name or name in _TAKEN:
        better = f"; write {_TAKEN[name]!r}" if _TAKEN.get(name) else ""
        raise ValueError(f"resources: {name!r} is not the name of a resource{better}")
    if name == "memory" and isinstance(amount, str):
        amount = to_bytes(amount)
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < math.inf:
        raise ValueError(f"resources: {amount!r} is not an amount of {name}; it must be a number from 0")
    if name == "num_gpus" and amount > 1 and amount != int(amount):
        raise ValueError(f"resources: {amount!r} is not an amount of num_gpus; above 1 it must be a whole number")
    return float(amount)
