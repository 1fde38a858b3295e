"""Rows in files: read from a part of the bytes, as far as they are whole, and written. CSV, JSON and JSON lines.

A part is enough: whoever reads says at which byte the last whole row ended, and goes on from there, also after a crash.

A spreadsheet calculates a cell that begins with = + - @, which makes a text that a stranger has typed into a formula on the
machine of whoever opens the file. So a quote is put before such a text (`_is_formula` says which these are), and before one
that begins with quotes and then such a text; reading takes one quote away again. What was written is read back as it was.
Numbers are no texts: -5 stays a number.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from headway.engine.numbers import FAR_MAX, too_many_far

Format = Literal["csv", "json", "jsonl"]
ROW_BYTES_MAX: Final = 4 * 1024 * 1024
"""The longest row of a file."""
BOM: Final = b"\xef\xbb\xbf"
QUOTE: Final = "'"
_SIGNS: Final = frozenset("=+-@")
_CONTROLS: Final = frozenset(map(chr, range(0x20)))
_BETWEEN: Final = re.compile(r"[ \t\r\n\[,]*")


class BadFile(ValueError):
    """The file is not what it is said to be; the text says where and why."""


def _refuse(constant: str) -> Any:
    raise BadFile(f"this is no JSON: it has {constant}")


_decoder: Final = json.JSONDecoder(parse_constant=_refuse)


class Row(msgspec.Struct, frozen=True):
    """One row, and at which byte of the part it ends."""

    cells: list[str] | dict[str, Any]
    end: int


def beginning(part: bytes) -> int:
    """Return how many bytes there are before the first row; raise BadFile for text of two bytes a character."""
    if part[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadFile("the file is UTF-16: save it as UTF-8")
    return len(BOM) if part.startswith(BOM) else 0


def rows(
    part: bytes, form: Format, *, last: bool, limit: int, encoding: str = "utf-8", delimiter: str = ","
) -> list[Row]:
    """Return the first whole rows of a part; `last` says that the file ends with it. Raises BadFile.

    If there is none, more bytes are needed, unless that was the last part.
    """
    made = {"csv": _csv, "jsonl": _jsonl, "json": _json}[form](part, last, encoding, delimiter)
    found = []
    try:
        for row in made:
            found.append(row)
            if len(found) == limit:
                break
    except BadFile:
        if not found:
            raise
    if not found and not last and len(part) >= ROW_BYTES_MAX:
        raise BadFile(f"a row has more than {ROW_BYTES_MAX:,} bytes: is the format right, is a quote left open?")
    return found


def _lines(part: bytes, last: bool) -> Iterator[tuple[bytes, int]]:
    at = 0
    while at < len(part):
        end = part.find(b"\n", at) + 1
        if not end:
            if not last:
                return
            end = len(part)
        yield part[at:end], end
        at = end


def _text(line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        raise BadFile(f"the file is not {encoding}; its encoding can be said") from None


def _csv(part: bytes, last: bool, encoding: str, delimiter: str) -> Iterator[Row]:
    at = 0

    def lines() -> Iterator[str]:
        nonlocal at
        for line, end in _lines(part, last):
            at = end
            yield _text(line, encoding)

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if last or "unexpected end" not in str(error):
                raise BadFile(f"this is no CSV: {error}") from None
            return  # the row goes on in the next part
        yield Row(cells, at)


def _jsonl(part: bytes, last: bool, encoding: str, delimiter: str) -> Iterator[Row]:
    del delimiter
    for line, end in _lines(part, last):
        text = _text(line, encoding).strip()
        if text:
            yield Row(_object(_parsed(text)), end)


def _parsed(text: str) -> Any:
    if too_many_far(text.encode()):
        raise BadFile(f"a row has more than {FAR_MAX:,} numbers with an exponent of three digits")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFile(f"a line is no JSON: {error}") from None


def _json(part: bytes, last: bool, encoding: str, delimiter: str) -> Iterator[Row]:
    """Objects of a list, one after the other; the brackets around them and the commas between are passed over."""
    del delimiter
    text = _whole_text(part, encoding, last)
    at, counted, end_byte = 0, 0, 0
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it always matches
        if text[at : at + 1] in ("]", ""):
            return
        try:
            value, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:  # also for a number of too many digits
            if last:
                raise BadFile(f"this is no JSON: {error}") from None
            return
        end_byte += len(text[counted:end].encode(encoding))
        yield Row(_object(value), end_byte)
        at = counted = end


def _whole_text(part: bytes, encoding: str, last: bool) -> str:
    for cut in range(4):
        try:
            return part[: len(part) - cut].decode(encoding)
        except UnicodeDecodeError:
            if last:
                break
    raise BadFile(f"the file is not {encoding}; its encoding can be said")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadFile(f"a row is {str(value)[:40]!r}, and no object")
    return value


def unquoted(cell: str) -> str:
    """Return what a cell was before a quote was put before it."""
    return cell[1:] if cell.startswith(QUOTE) and _is_formula(cell.lstrip(QUOTE)) else cell


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet may calculate a cell of this text, or drop what it begins with and calculate the rest.

    That is a text that begins with a control character (tab, line feed, carriage return …), or whose first visible sign is
    = + - @ or a compatible form of one, such as the full-width ones that spreadsheets in Japanese take for them.
    """
    if text[:1].isalnum():  # most texts
        return False
    visible = next((sign for sign in text if unicodedata.category(sign)[0] not in "CZ"), "")
    return text[:1] in _CONTROLS or unicodedata.normalize("NFKC", visible)[:1] in _SIGNS


def written(
    records: Iterable[Sequence[Any]],
    names: Sequence[str],
    form: Format,
    *,
    first: bool,
    delimiter: str = ",",
    safe: bool = True,
) -> str:
    """Return records as text; `first` says that nothing was written before (then CSV has its header, JSON no comma)."""
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
        if first:
            writer.writerow([_cell(name, safe) for name in names])
        writer.writerows([[_cell(value, safe) for value in record] for record in records])
        return out.getvalue()
    texts = [msgspec.json.encode(dict(zip(names, record, strict=True))).decode() for record in records]
    if form == "jsonl":
        return "".join(f"{text}\n" for text in texts)
    joined = ",\n".join(texts)
    return f"[\n{joined}" if first else f",\n{joined}" if joined else ""


def ending(form: Format) -> str:
    """Return what stands at the end of a file."""
    return "\n]\n" if form == "json" else ""


def _cell(value: Any, safe: bool) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            text = "; ".join(map(str, value))
        case str():
            text = value
        case _:
            return msgspec.json.encode(value).decode()
    return QUOTE + text if safe and _is_formula(text.lstrip(QUOTE)) else text


def mapped(cells: Sequence[str], columns: Sequence[str | None], *, safe: bool) -> Mapping[str, str]:
    """Return the cells of a row by field; columns without one are passed over. Raise BadFile for more cells than columns."""
    if len(cells) > len(columns):
        raise BadFile(f"has {len(cells)} cells, and the header has {len(columns)}")
    return {
        name: unquoted(cell) if safe else cell for name, cell in zip(columns, cells, strict=False) if name is not None
    }
