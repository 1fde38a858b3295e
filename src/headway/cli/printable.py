"""Escaping of foreign text for a terminal: control and bidirectional characters are written out."""

from __future__ import annotations

import re
from typing import Final

_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tabs and line feeds
    "\u2028\u2029"  # separators that some take for the end of a line
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of writing, which reorders the shown text
    "\ud800-\udfff]"  # halves of characters, which no encoding has
)

SURROGATES: Final = re.compile("[\ud800-\udfff]")
"""Lone surrogates, which Python makes of bytes that are not UTF-8."""


def printable(text: str) -> str:
    r"""Return the text with each such character as `\u001b`, which in JSON means the same; tabs and line feeds stay."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """Return the printable text on one line."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def indented(text: str, indent: str = "    ") -> str:
    """Return the printable text with lines after the first indented, so that none passes for our own."""
    return printable(text).replace("\n", f"\n{indent}")
