"""Layout of text for a terminal of a given width: tables whose columns shrink in a fixed order, and wrapped lines.

A cell is the width of one Latin letter; most characters of East Asia and most emoji take two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal, NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size

Kind = Literal["whole", "name", "id", "text"]
"""Kind of a column: `whole` is never cut, `name` is folded, `id` is shown as a prefix, `text` is cut."""

GAP: Final = 2
NAME_MIN: Final = 12
"""Minimum width of a folded name, in cells."""
ID_PREFIXES: Final = (13, 18, 23)
"""Prefix lengths of a UUIDv7: its time, then with the count within the millisecond, then with random digits."""
KEY_PREFIXES: Final = (8, 12, 16)
"""Prefix lengths of an id that is random throughout."""


class Column(NamedTuple):
    """One column of a table."""

    name: str
    kind: Kind = "whole"


def lay_out(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, mark: str = "…"
) -> list[list[str]] | None:
    """Return the lines of a table, heads first, as padded cells; None if they cannot be as narrow as `width`.

    When there are too few cells, texts are cut first, in the order of their columns, down to their heads; then ids become
    the shortest prefix that differs from row to row; then names are folded; then texts are left out.
    """
    plan = _plan(columns, rows, width)
    if plan is None:
        return None
    widths, prefix = plan
    shown = [at for at, wide in enumerate(widths) if wide]
    lines = [[_padded(columns[at].name, widths[at]) for at in shown]]
    for row in rows:
        cells = [_lines(row[at], columns[at].kind, widths[at], prefix, mark) for at in shown]
        for line in range(max(map(len, cells))):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            lines.append([_padded(part, widths[at]) for part, at in zip(parts, shown, strict=True)])
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """Return the words of a text in lines of at most so many cells; a word that is longer is broken."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(longer) <= width:
            lines[-1] = longer
            continue
        first, *more = chop_cells(word, width) or [""]
        lines += ([first] if lines[-1] else []) + more
        if not lines[0]:
            lines[0] = first
    return lines


def _plan(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> tuple[list[int], int] | None:
    """Return the width of each column, 0 for an omitted one, and the number of id characters shown."""
    heads = [cell_len(column.name) for column in columns]
    texts = [at for at, column in enumerate(columns) if column.kind == "text"]
    names = [at for at, column in enumerate(columns) if column.kind == "name"]
    least = [max(head, NAME_MIN) for head in heads]
    natural = [max([head, *(cell_len(row[at]) for row in rows)]) for at, head in enumerate(heads)]
    ids = {row[at] for at, column in enumerate(columns) if column.kind == "id" for row in rows}
    whole, prefix = max(map(len, ids), default=0), _prefix(ids)
    stages = [(whole, 0, False), (prefix, 0, False), *((prefix, out, True) for out in range(len(texts) + 1))]
    for shown, left_out, folded in stages:
        widths = [
            max(head, min(wide, shown)) if column.kind == "id" else wide
            for head, wide, column in zip(heads, natural, columns, strict=True)
        ]
        for at in texts[:left_out]:
            widths[at] = 0
        for at in texts[left_out:]:
            widths[at] -= _spare(widths, at, heads[at], width)
        excess = _total(widths) - width if folded and names else 0
        for _ in range(excess):  # the widest gives, so that they become alike
            at = max(names, key=lambda name: widths[name] - least[name])
            widths[at] -= min(1, _spare(widths, at, least[at], width))
        if _total(widths) <= width:
            return widths, shown
    return None


def _spare(widths: Sequence[int], at: int, least: int, width: int) -> int:
    """Return the number of cells that a column can give so that the line fits, down to its minimum."""
    return max(0, min(_total(widths) - width, widths[at] - least))


def _prefix(ids: AbstractSet[str]) -> int:
    """Return the shortest length at which different ids still differ."""
    different = ids - {""}
    lengths = ID_PREFIXES if all("-" in text for text in different) else KEY_PREFIXES
    whole = max(map(len, different), default=0)
    return next((length for length in lengths if len({text[:length] for text in different}) == len(different)), whole)


def _total(widths: Sequence[int]) -> int:
    shown = [width for width in widths if width]
    return sum(shown) + GAP * (len(shown) - 1)


def _lines(text: str, kind: Kind, width: int, prefix: int, mark: str) -> list[str]:
    if kind == "id":
        return [text[:prefix]]
    if cell_len(text) <= width:
        return [text]
    return wrapped(text, width) if kind == "name" else [cut(text, width, mark)]


def cut(text: str, width: int, mark: str = "…") -> str:
    """Return the beginning of a text in a number of cells, with a mark at its end if it was cut."""
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, max(0, width - len(mark))).rstrip()}{mark}"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def blocks(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Iterator[list[tuple[str, str]]]:
    """Yield for each row its lines as pairs of name and value, for a screen that is too narrow for the table."""
    head = max(cell_len(column.name) for column in columns)
    for row in rows:
        yield [
            (_padded(column.name if line == 0 else "", head), part)
            for column, text in zip(columns, row, strict=True)
            if text
            for line, part in enumerate([text] if column.kind == "id" else wrapped(text, max(1, width - head - GAP)))
        ]
