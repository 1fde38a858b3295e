"""The size of a regular expression: the number of its automaton's states, and the cost of compiling it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

NEGATED: Final = 16
"""Weight of a class of nearly all characters, such as `.` or `[^a]`, whose states match the bytes of UTF-8."""
UNICODE: Final = 1_100
"""Weight of a Unicode class, such as `\\p{L}`."""
DEPTH_MAX: Final = 200

_PIECE: Final = re.compile(
    r"\\[pP](?:\{[^}]*\}|.)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|\((?:\?[^:=!<)]*:?)?|.", re.DOTALL
)


class Size(NamedTuple):
    """The number of states, and the weight of compiling them; 1 is the weight of an ASCII state (0.2 µs)."""

    states: int
    weight: int


def size(pattern: str) -> Size:
    """Return a lower bound of the size of a pattern; counted repetitions multiply what they repeat."""
    groups: list[list[Size]] = [[]]
    for piece in _PIECE.findall(pattern):
        if piece.startswith("(") and len(groups) < DEPTH_MAX:
            groups.append([])
        elif piece == ")" and len(groups) > 1:
            group = groups.pop()
            groups[-1].append(_sum(group))
        elif piece.startswith("{") and len(piece) > 1 and groups[-1]:
            times = max(1, *(int(digits[:9]) for digits in re.findall(r"\d+", piece)))
            last = groups[-1][-1]
            groups[-1][-1] = Size(last.states * times, last.weight * times)
        elif piece not in {"*", "+", "?", "|"}:
            groups[-1].append(Size(1, _weight(piece)))
    return _sum([each for group in groups for each in group])


def _weight(piece: str) -> int:
    if re.search(r"\\[pP]", piece):
        return UNICODE
    if piece.startswith("[^") or piece in {".", "\\D", "\\W", "\\S"} or not piece.isascii():
        return NEGATED
    return 1


def _sum(sizes: list[Size]) -> Size:
    return Size(sum(each.states for each in sizes) + 1, sum(each.weight for each in sizes) + 1)
