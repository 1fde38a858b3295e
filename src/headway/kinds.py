"""Kinds of values of settings: the check of a value, its reading from text, and its description for messages.

A kind completes the sentence "… is not …" with `accepts`: "a whole number from 0 to 65535".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final, Protocol

from headway.durations import format_ms, parse_ms
from headway.networks import named

SHOWN_MAX: Final = 80
"""Characters of a refused value that a message shows."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_UNITS: Final = {"": 1, "B": 1, "kB": 1000, "KB": 1000, "KiB": 1 << 10, "MB": 1000**2, "MiB": 1 << 20, "GB": 1000**3,
                 "GiB": 1 << 30, "TB": 1000**4, "TiB": 1 << 40}  # fmt: skip
_SIZE: Final = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*(|B|kB|KB|KiB|MB|MiB|GB|GiB|TB|TiB)\s*")
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_HOST: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")


class Kind(Protocol):
    """A set of values that a setting takes."""

    @property
    def accepts(self) -> str:
        """A description of the values, which ends the message "… is not …"."""
        ...

    def read(self, text: str) -> Any:
        """Return the value that a text spells; raise ValueError."""
        ...

    def holds(self, value: Any) -> bool:
        """Return whether the setting takes a Python value."""
        ...


def parse_bytes(text: str) -> int:
    """Return the number of bytes in "512MiB" or "1.5 GB"; raise ValueError for other texts."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'{text[:40]!r} is not a size; write "512MiB"')
    return round(float(match[1]) * _UNITS[match[2]])


def format_bytes(size: int) -> str:
    """Return the shortest spelling that `parse_bytes` reads back to the same number."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]} {unit}"
    return str(size)


def shown(value: object) -> str:
    """Return a refused value as a message shows it."""
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


@dataclass(frozen=True)
class Flag:
    """Yes or no."""

    accepts: str = "true or false"

    def read(self, text: str) -> bool:
        """Read yes or no in their usual spellings, in any case."""
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise ValueError(text)
        return word in _TRUE

    def holds(self, value: Any) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True)
class Whole:
    """A whole number in a range."""

    least: int
    most: int

    @property
    def accepts(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def read(self, text: str) -> int:
        if not re.fullmatch(r"\s*-?[0-9]{1,20}\s*", text):
            raise ValueError(text)
        return int(text)

    def holds(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most


@dataclass(frozen=True)
class Bytes(Whole):
    """A number of bytes in a range."""

    @property
    def accepts(self) -> str:
        return f'a size from {format_bytes(self.least)} to {format_bytes(self.most)}, such as "8 MiB" or 8388608'

    def read(self, text: str) -> int:
        """Read a number with or without a unit."""
        return parse_bytes(text)


@dataclass(frozen=True)
class Duration(Whole):
    """A number of milliseconds in a range."""

    @property
    def accepts(self) -> str:
        return f'a duration from {format_ms(self.least)} to {format_ms(self.most)}, such as "30s", "5m" or "1h30m"'

    def read(self, text: str) -> int:
        """Read a duration with its unit."""
        return parse_ms(text)


@dataclass(frozen=True)
class Seconds:
    """A number of seconds in a range, with fractions."""

    least: float
    most: float

    @property
    def accepts(self) -> str:
        return f"a number of seconds from {self.least:g} to {self.most:g}"

    def read(self, text: str) -> float:
        """Read a duration with its unit."""
        return parse_ms(text) / 1000

    def holds(self, value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.least <= value <= self.most


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    @property
    def accepts(self) -> str:
        return f"{', '.join(self.words[:-1])} or {self.words[-1]}"

    def read(self, text: str) -> str:
        """Read a word, in any case."""
        return text.strip().lower()

    def holds(self, value: Any) -> bool:
        return value in self.words


@dataclass(frozen=True)
class Text:
    """A text of visible characters; an empty one means no value where there is no default."""

    what: str = "a text without control characters"
    least: int = 0
    most: int = 4096
    secret: bool = False
    """True if messages must not show the value."""

    @property
    def accepts(self) -> str:
        bounds = f" of at least {self.least} characters" if self.least > 1 else ""
        return f"{self.what}{bounds}"

    def read(self, text: str) -> str:
        """Return the text without surrounding blanks."""
        return text.strip()

    def holds(self, value: Any) -> bool:
        if not isinstance(value, str) or _CONTROL.search(value):
            return False
        return value == "" if not value and not self.least else self.least <= len(value) <= self.most


@dataclass(frozen=True)
class Matching:
    """A text that a function accepts: it raises ValueError or TypeError for others."""

    what: str
    check: Any
    secret: bool = False

    @property
    def accepts(self) -> str:
        return self.what

    def read(self, text: str) -> str:
        """Return the text without surrounding blanks."""
        return text.strip()

    def holds(self, value: Any) -> bool:
        if not isinstance(value, str) or not value:
            return False
        try:
            self.check(value)
        except (ValueError, TypeError):
            return False
        return True


@dataclass(frozen=True)
class Many:
    """Any number of values of one kind; in text with commas between them."""

    item: Kind

    @property
    def accepts(self) -> str:
        return self.item.accepts

    @property
    def secret(self) -> bool:
        """True if messages must not show the values."""
        return getattr(self.item, "secret", False)

    def holds(self, value: Any) -> bool:
        return isinstance(value, tuple) and all(self.item.holds(part) for part in value)


def _origin(text: str) -> None:
    found = _ORIGIN.fullmatch(text)
    if found is None or (found["scheme"], found["port"]) in (("http", "80"), ("https", "443")):
        raise ValueError(text)


def _host(text: str) -> None:
    if _HOST.fullmatch(text) is None:
        raise ValueError(text)


def _network(text: str) -> None:
    ip_network(text.strip(), strict=False)


def _exact_network(text: str) -> None:
    ip_network(text.strip())


def _target(text: str) -> None:
    if "/" in text:
        ip_network(text.strip())
    else:
        named(text)


def _named(text: str) -> None:
    if "/" in text:
        ip_network(text.strip(), strict=False)
    else:
        named(text)


def _json_object(text: str) -> None:
    if not isinstance(json.loads(text), dict):
        raise TypeError(text)


PORT: Final = Whole(1, 65_535)
ORIGIN: Final = Matching(
    "an origin as browsers write it: scheme://host or scheme://host:port, in lower case, without a path or a default port",
    _origin,
)
HOST: Final = Matching(
    "a name as a Host header has it, without scheme, port or path (and `*` does not stand for every name: list them)",
    _host,
)
FILE: Final = Text("a file")
NETWORK: Final = Matching("an address or a network such as 10.0.0.0/8", _network)
EXACT_NETWORK: Final = Matching("a network such as 10.0.0.0/8, with no bit set behind its prefix", _exact_network)
TARGET: Final = Matching("a host (HOST or HOST:PORT), an address or a network such as 10.0.0.0/8", _target)
"""A target that may be called although it is not public."""
NAMED: Final = Matching("a host (HOST or HOST:PORT), an address or a network such as 10.0.0.0/8", _named)
"""Target as in TARGET, or a network given by any of its addresses."""
JSON_OBJECT: Final = Matching("a JSON object", _json_object, secret=True)
SECRET: Final = Text("a random text", 32, secret=True)


def first_refused(kind: Kind | Many, value: Any) -> Any:
    """Return the refused part of a value: of a list, its first refused element."""
    if isinstance(kind, Many) and isinstance(value, Iterable) and not isinstance(value, str):
        return next((part for part in value if not kind.item.holds(part)), value)
    return value
