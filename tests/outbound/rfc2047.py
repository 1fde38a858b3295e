"""A decoder of mail headers written from RFC 5322 and RFC 2047 alone, to hold our encoder against a second reader of the rules."""

import base64
import re

WORD = re.compile(r"=\?([!#-'*+0-9A-Z^-~-]+)\?([bBqQ])\?([!->@-~]*)\?=")
"""An encoded word: charset, encoding, text without blanks and question marks (RFC 2047, 2)."""


def unfolded(head, name):
    """Return the value of a field, without the line breaks before blanks (RFC 5322, 2.2.3)."""
    fields = re.findall(r"^([^\s:]+):((?:[^\r\n]|\r\n[ \t])*)\r\n", head, re.MULTILINE)
    (value,) = [value for field, value in fields if field.lower() == name.lower()]
    return value.replace("\r\n", "")[1:]


def text(value):
    """Return what an unstructured value says: blanks between two encoded words are dropped (RFC 2047, 6.2)."""
    found, blanks, encoded = "", "", False
    for token in re.split(r"([ \t]+)", value):
        if not token.strip(" \t"):
            blanks += token
            continue
        word = WORD.fullmatch(token)
        found += ("" if word and encoded else blanks) + (_decoded(word) if word else token)
        blanks, encoded = "", word is not None
    return found + blanks


def _decoded(word):
    assert len(word[0]) <= 75, "RFC 2047, 2"
    charset, encoding, content = word.groups()
    if encoding in "bB":
        octets = base64.b64decode(content, validate=True)
    else:
        octets = re.sub(
            rb"=([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), content.replace("_", " ").encode()
        )
    return octets.decode(charset)  # each word is whole by itself (RFC 2047, 5)


def mailboxes(value):
    """Return (name, address) of each mailbox of a list (RFC 5322, 3.4); a name is a phrase or a quoted string."""
    pattern = r'\s*(?:("(?:[^"\\]|\\.)*"|[^<>,"]*?)\s*<([^<>]*)>|([^<>,"\s]+))\s*(?:,|$)'
    found, at = [], 0
    while at < len(value):
        entry = re.compile(pattern).match(value, at)
        assert entry, value[at:]
        name, address, bare = entry.groups()
        quoted = name is not None and name.startswith('"')  # where nothing is decoded (RFC 2047, 5)
        found.append((re.sub(r"\\(.)", r"\1", name[1:-1]) if quoted else text(name or ""), address or bare))
        at = entry.end()
    return found
