"""Upper bounds of the cost of validating an input, in steps of about 15 ns; schemas above the limits are refused.

The cost of a subschema for one value is its own and that of all subschemas applied in place; the cost of what the value
contains is that of the most costly place for a contained value. Recursive schemas cost more the deeper an input is
nested, so the cost is a table by depth.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from headway.kernel.schemas.graph import Graph, Subschema, TooLarge

IN_PLACE_MAX: Final = 100_000
"""Most steps of a schema for one value."""
CHAIN_MAX: Final = 100
"""Longest chain of subschemas applied in place within each other."""
WEIGHT_MAX: Final = 1_000_000
"""Most weight of a schema's patterns together; see `patterns`."""
REWALKED: Final = 3
"""Times that `unevaluated…` applies the subschemas in place."""
DEPTH_MAX: Final = 100
WORK_MAX: Final = 50_000
"""Most edges of the graph that are visited until the table is stable."""
_CEILING: Final = 1e15


class TooCostly(Exception):
    """A schema that costs too much for any input; `pointer` says where in the schema."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


class Steps(NamedTuple):
    """Steps for each list and object, for each value and name, and for each byte."""

    containers: float
    values: float
    bytes: float


class Cost(NamedTuple):
    """Upper bounds of the cost of a schema."""

    by_depth: tuple[Steps, ...]
    """Steps by the depth of an input; deeper ones cost as the last entry, unless `grows`."""
    grows: bool
    """Whether inputs deeper than the table cost more than its last entry."""
    chain: int
    """The longest chain of subschemas applied in place within each other."""
    weight: int
    """The weight of compiling its patterns."""
    patterns: int
    """Number of patterns."""

    def steps(self, *, containers: int, values: int, size: int, depth: int) -> float:
        """Return an upper bound of the steps for an input of this size."""
        last = len(self.by_depth) - 1
        if depth > last and self.grows:
            return _CEILING
        each = self.by_depth[min(depth, last)]
        return each.containers * containers + each.values * values + each.bytes * size


UNKNOWN: Final = Cost((), grows=True, chain=CHAIN_MAX, weight=0, patterns=0)
"""The cost of a schema that refers to something outside itself."""


def cost_of(schema: Any) -> Cost:
    """Return the cost of a schema; raise TooCostly if it is above a limit."""
    try:
        graph = Graph(schema)
    except TooLarge as error:
        raise TooCostly("", str(error)) from None
    except RecursionError:
        raise TooCostly("", "it is nested too deep") from None
    if graph.pattern_weight > WEIGHT_MAX:
        raise TooCostly("", "its patterns are too large")
    order, chain = _ordered(graph.subschemas)
    _hold_in_place(graph, order)
    if graph.opaque:
        return UNKNOWN
    by_depth, grows = _table(graph, order)
    return Cost(by_depth, grows, chain, graph.pattern_weight, graph.patterns)


def _ordered(subschemas: list[Subschema]) -> tuple[list[int], int]:
    """Return the subschemas in topological order, those applied in place first, and the longest chain of these."""
    order: list[int] = []
    heights = [0] * len(subschemas)  # -1 while it is being looked at
    for start in reversed(range(len(subschemas))):
        stack = [(start, iter(subschemas[start].branches))] if not heights[start] else []
        if stack:
            heights[start] = -1
        while stack:
            index, rest = stack[-1]
            below = next((each for each in rest if heights[each] <= 0), None)
            if below is None:
                stack.pop()
                branches = subschemas[index].branches
                heights[index] = 1 + max((heights[each] for each in branches), default=0)
                order.append(index)
            elif heights[below] < 0:
                raise TooCostly(subschemas[below].pointer, "it applies itself to the same value again")
            else:
                heights[below] = -1
                stack.append((below, iter(subschemas[below].branches)))
    highest = max(range(len(subschemas)), key=heights.__getitem__, default=0)
    if heights and heights[highest] > CHAIN_MAX:
        raise TooCostly(subschemas[highest].pointer, f"it applies more than {CHAIN_MAX} subschemas within each other")
    return order, max(heights, default=0)


def _hold_in_place(graph: Graph, order: list[int]) -> None:
    """Raise TooCostly for a subschema that costs more than IN_PLACE_MAX for one value."""
    totals = [0.0] * len(graph.subschemas)
    for index in order:
        node = graph.subschemas[index]
        times = REWALKED if index in graph.rewalking else 1
        own = node.containers + node.values + node.deep
        totals[index] = own + times * sum(totals[each] for each in node.branches)
        if totals[index] > IN_PLACE_MAX:
            raise TooCostly(node.pointer, f"it takes more than {IN_PLACE_MAX:,} steps to check one value")


def _table(graph: Graph, order: list[int]) -> tuple[tuple[Steps, ...], bool]:
    """Return the cost by depth, and whether it grows beyond the table.

    The costs of a level are those of values so many levels below the one that the schema is applied to.
    """
    nodes = graph.subschemas
    if not nodes:
        return (Steps(0, 1, 0),), False
    applying = [index for index in order if not _is_leaf(nodes[index])]
    edges = sum(
        len(each.branches) + len(each.first) + len(each.items) + len(each.every) + 1
        for each in (nodes[index] for index in applying)
    )
    level = {index: Steps(each.containers, each.values + each.deep, each.bytes) for index, each in enumerate(nodes)}
    for index in applying:
        level[index] = _with_branches(graph, index, level[index], level)
    table = [level.get(0, _NOTHING)]
    seen = {_frozen(level)}
    for _ in range(min(DEPTH_MAX, 2 + WORK_MAX // max(1, edges))):
        level = _next_level(graph, applying, level)
        if not level or _frozen(level) in seen:
            return tuple(table), False
        seen.add(_frozen(level))
        table.append(_larger(table[-1], level.get(0, _NOTHING)))
        if table[-1].values > _CEILING:
            break
    return tuple(table), True


_NOTHING: Final = Steps(0, 0, 0)


def _is_leaf(node: Subschema) -> bool:
    return not (node.branches or node.first or node.items or node.every or node.deep)


def _frozen(level: dict[int, Steps]) -> int:
    return hash(frozenset(level.items()))


def _next_level(graph: Graph, applying: list[int], above: dict[int, Steps]) -> dict[int, Steps]:
    level: dict[int, Steps] = {}
    for index in applying:
        node = graph.subschemas[index]
        within = _NOTHING
        for group in (node.first, node.items):
            for each in group:
                if each in above:
                    within = _larger(within, above[each])
        if node.deep:
            within = _plus(within, Steps(0, node.deep, 0))
        for each in node.every:
            if each in above:
                within = _plus(within, above[each])
        cost = _with_branches(graph, index, within, level)
        if cost != _NOTHING:
            level[index] = cost
    return level


def _with_branches(graph: Graph, index: int, cost: Steps, level: dict[int, Steps]) -> Steps:
    """Return a cost plus that of the subschemas applied in place."""
    times = REWALKED if index in graph.rewalking else 1
    for each in graph.subschemas[index].branches:
        if each in level:
            cost = _plus(cost, level[each], times)
    return cost


def _larger(one: Steps, other: Steps) -> Steps:
    return Steps(max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2]))


def _plus(one: Steps, other: Steps, times: int = 1) -> Steps:
    return Steps(one[0] + times * other[0], one[1] + times * other[1], one[2] + times * other[2])
