"""Formats of rows in files: CSV, JSON and JSON lines, read part by part and written.

Reading needs only a part of the bytes: each row has the offset of its end, from which the next part is read, also after a crash.

A spreadsheet evaluates a cell that begins with = + - @ as a formula (CSV injection). So texts like this (`_is_formula`) are
written with a quote before them, as are texts that begin with quotes and then like this; reading removes one quote, so that
rows are read back as they were written. Numbers are no texts: -5 stays a number.
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

from headway.kernel.numbers import FAR_MAX, too_many_far

Format = Literal["csv", "json", "jsonl"]
ROW_BYTES_MAX: Final = 4 * 1024 * 1024
"""Maximum size of a row."""
BOM: Final = b"\xef\xbb\xbf"
QUOTE: Final = "'"
_SIGNS: Final = frozenset("=+-@")
_CONTROLS: Final = frozenset(map(chr, range(0x20)))
_BETWEEN: Final = re.compile(r"[ \t\r\n\[,]*")


_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_SEPARATOR: Final = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*', re.IGNORECASE)
"""A first line that names the delimiter, as Excel reads it."""
DELIMITERS: Final = ",;\t|"
UNNAMED: Final = ""
"""Name of a column with an empty header."""
csv.field_size_limit(ROW_BYTES_MAX)  # a cell that is too long is refused with its row, and not the whole file


class BadFile(ValueError):
    """The file is not of the declared format; the text gives the reason."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        """Line of the part with the fault, from 1; None if unknown."""


def _refuse(constant: str) -> Any:
    raise BadFile(f"this is no JSON: it has {constant}")


_decoder: Final = json.JSONDecoder(parse_constant=_refuse)


class Row(msgspec.Struct, frozen=True):
    """One row, and its place in the part."""

    cells: list[str] | dict[str, Any]
    end: int
    """Offset of the byte after the row."""
    line: int = 0
    """First line of the row, from 1; 0 if rows are no lines."""
    lines: int = 0
    """Number of lines up to the end of the row."""

    @property
    def blank(self) -> bool:
        """Whether the row is empty: an empty line, or delimiters alone."""
        return not (any(self.cells) if isinstance(self.cells, list) else self.cells)


def beginning(part: bytes, encoding: str = "utf-8") -> int:
    """Return the number of bytes before the first row; raise BadFile for another encoding than the declared one."""
    if part[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadFile("the file is UTF-16: save it as UTF-8")
    if b"\0" in part[:4]:
        raise BadFile("the file has two or four bytes a character, or is no text: save it as UTF-8")
    if not part.startswith(BOM):
        return 0
    if encoding != "utf-8":
        raise BadFile(f"the file begins as UTF-8 does, and is not {encoding}")
    return len(BOM)


def separator(part: bytes) -> tuple[str, int] | None:
    """Return the delimiter that a first line `sep=;` names, and the length of that line in bytes; None without one."""
    end = _LINE_END.search(part)
    first = part if end is None else part[: end.end()]
    found = _SEPARATOR.fullmatch(first.decode("latin-1"))
    return None if found is None else (found[1], len(first))


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
    """Return each line with its end, and the offset of the byte after it.

    Lines end with LF, CR LF or, as on old Macs, CR.
    """
    at = 0
    for found in _LINE_END.finditer(part):
        end = found.end()
        if end == len(part) and found[0] == b"\r" and not last:  # an LF may follow
            return
        yield part[at:end], end
        at = end
    if last and at < len(part):
        yield part[at:], len(part)


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
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" not in str(error):
                raise BadFile(f"this is no CSV: {error}", line) from None
            if last:
                raise BadFile("this is no CSV: a quote is left open in the row that begins here", line) from None
            return  # the row goes on in the next part
        yield Row(cells, at, line, reader.line_num)


def _jsonl(part: bytes, last: bool, encoding: str, delimiter: str) -> Iterator[Row]:
    del delimiter
    for number, (line, end) in enumerate(_lines(part, last), 1):
        text = _text(line, encoding).strip()
        if text:
            try:
                yield Row(_object(_parsed(text)), end, number, number)
            except BadFile as error:
                raise BadFile(str(error), number) from None


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
    """Return a cell without the quote that an export put before it."""
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


def format_rows(
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
    """Return the text at the end of a file."""
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


def cells_by_field(cells: Sequence[str], columns: Sequence[str | None], *, safe: bool) -> Mapping[str, str]:
    """Return the cells of a row by field; columns that are None are passed over.

    Raises BadFile for a cell that is not empty where the header has no name or no column.
    """
    if any(cells[len(columns) :]):
        raise BadFile(f"has {len(cells)} cells, and the header has {len(columns)}")
    found = {}
    for number, (name, cell) in enumerate(zip(columns, cells, strict=False), 1):
        if name == UNNAMED and cell:
            raise BadFile(f"has {cell[:40]!r} in column {number}, which has no name in the header")
        if name:
            found[name] = unquoted(cell) if safe else cell
    return found
