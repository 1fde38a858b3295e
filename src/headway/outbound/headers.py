"""Header fields of mails, encoded so that no text can add headers or recipients.

Texts are never parsed or decoded here. Plain ASCII is not encoded; all else, also what looks like an encoded word
(`=?utf-8?q?…?=`), becomes encoded words of RFC 2047 that decode to the text. Headers are checked in their encoded form.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

LINE_MAX: Final = 76
"""Length at which a line is folded, if it has a blank."""
LONGEST_WORD: Final = 900
"""Length from which text is encoded, so that no line exceeds the 998 characters of RFC 5322."""
PIECE_BYTES: Final = 36
"""Bytes of text in one encoded word: 60 characters, which fit into a line after the name of any of our fields."""

_PLAIN: Final = re.compile(r"[!-~]+( [!-~]+)*")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+( [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTABLE: Final = re.compile(r"[!-~]([ -~]{0,60}[!-~])?")
_SENT: Final = re.compile(r"[A-Za-z-]+:( [!-~]([ -~]*[!-~])?\r\n)+")
_ENCODED_WORD: Final = "=?"
"""Start of an encoded word, which receivers decode."""


class Mailbox(msgspec.Struct, frozen=True):
    """An address with its display name."""

    name: str
    address: str
    """Address in ASCII, with the domain in its IDNA form."""


def field(name: str, words: Iterable[str]) -> bytes:
    """Return a header field, folded between its words; raise ValueError if it would be anything but that one field."""
    lines = [f"{name}:"]
    fresh = True
    for word in words:
        if not fresh and len(lines[-1]) + 1 + len(word) > LINE_MAX:
            lines.append("")
        lines[-1] += f" {word}"
        fresh = False
    sent = "".join(f"{line}\r\n" for line in lines)
    if not _SENT.fullmatch(sent):
        raise ValueError(f"{name} has a character that no header can have")
    return sent.encode("ascii")


def text(value: str) -> list[str]:
    """Return the words of an unstructured field, such as a subject."""
    words = value.split(" ")
    if _ENCODED_WORD in value or not _PLAIN.fullmatch(value) or max(map(len, words)) > LONGEST_WORD:
        return _encoded(value)
    return words


def mailboxes(of: Sequence[Mailbox]) -> list[str]:
    """Return the words of a list of mailboxes."""
    found: list[str] = []
    for mailbox in of:
        if found:
            found[-1] += ","
        found += [*_phrase(mailbox.name), f"<{mailbox.address}>"] if mailbox.name else [mailbox.address]
    return found


def _phrase(name: str) -> list[str]:
    if _ENCODED_WORD in name or not _QUOTABLE.fullmatch(name):
        return _encoded(name)
    if _ATOMS.fullmatch(name):
        return name.split(" ")
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return [f'"{escaped}"']


def _encoded(value: str) -> list[str]:
    """Return the encoded words of a text, split between characters. Receivers drop the blanks between them."""
    pieces = [b""]
    for sign in value:
        octets = sign.encode()
        if len(pieces[-1]) + len(octets) > PIECE_BYTES:
            pieces.append(b"")
        pieces[-1] += octets
    return [f"=?utf-8?b?{base64.b64encode(piece).decode()}?=" for piece in pieces if piece]
