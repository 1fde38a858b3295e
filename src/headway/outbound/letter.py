"""A mail, the server that it is handed to, and what can be wrong with either; `mail` puts it together and sends it.

Apart from that, because servers that send nothing need not load what sends.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from headway.errors import InvalidInput
from headway.outbound.egress import EgressPolicy, Target
from headway.outbound.failure import shown
from headway.outbound.headers import Mailbox

Security = Literal["starttls", "tls", "plain"]

RECIPIENTS_MAX: Final = 50
ADDRESSES_MAX: Final = 20_000
"""The longest list of addresses, in characters."""
NAME_MAX: Final = 200
"""The longest name before an address, in characters."""
_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_LOCAL_MAX: Final = 64
_DOMAIN_MAX: Final = 253
_ENTRY: Final = re.compile(
    r"[ \t]*+(?:(?P<bare>[^<>()\[\]\s\",;:\\]++)"
    r'|(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"[ \t]*+|(?P<words>[^<>()\[\]",;:\\@]*+))<(?P<address>[^<>\s]++)>)[ \t]*+(?:[,;]|$)'
)
"""Pattern of one address in a list: bare, or in angle brackets behind a name. Comments and groups are not supported."""
_BREAKS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Line breaks and control characters, except the tab."""


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """Mail server that takes the mails, and their sender."""

    host: str
    port: int = 587
    security: Security = "starttls"
    username: str = ""
    password: str = ""
    sender: str
    sender_name: str = ""
    reply_to: str = ""


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """One mail. Recipients are addresses as people write them: `a@example.com, Ann <ann@example.com>`."""

    to: str
    cc: str = ""
    bcc: str = ""
    subject: str
    text: str = ""
    html: str = ""
    message_id: str
    """Part of the Message-ID before the sender's domain, the same for every try."""
    at_ms: int


def check_server(server: MailServer, policy: EgressPolicy) -> Target:
    """Return the target of the server; raise InvalidInput, or TargetRefused, for wrong settings."""
    sender_of(server)
    if server.reply_to:
        addresses(server.reply_to, "reply_to", most=1)
    target = policy.mail_server(server.host, server.port)
    if server.security == "plain" and server.username and not target.trusted:
        raise InvalidInput("security plain would send the password in the clear; use starttls or tls")
    return target


def sender_of(server: MailServer) -> Mailbox:
    """Return the sender of the server's mails; raise InvalidInput unless it is one address with a one-line name."""
    found = addresses(server.sender, "sender", most=1)
    if not found or found[0].name:
        raise InvalidInput("sender must be one e-mail address; the display name is sender_name")
    return Mailbox(one_line(server.sender_name, "sender_name"), found[0].address)


def one_line(text: str, name: str) -> str:
    """Return the text; raise InvalidInput for a line break or a control character in it."""
    if _BREAKS.search(text):
        raise InvalidInput(f"{name} has a line break or a control character in it")
    return text


def addresses(text: str, name: str, most: int = RECIPIENTS_MAX) -> list[Mailbox]:
    """Read a list of addresses; raise InvalidInput naming the first invalid one."""
    if len(text) > ADDRESSES_MAX:
        raise InvalidInput(f"{name} is longer than {ADDRESSES_MAX:,} characters")
    one_line(text, name)
    found: list[Mailbox] = []
    at = 0
    while text[at:].strip(" \t,;"):
        entry = _ENTRY.match(text, at)
        written = _ascii(entry["bare"] or entry["address"]) if entry else ""
        if entry is None or not _is_address(written):
            raise InvalidInput(f"{name}: {shown(text[at:])!r} does not begin with an e-mail address")
        display = re.sub(r"\\(.)", r"\1", entry["quoted"] or "") or (entry["words"] or "").strip(" \t")
        if len(display) > NAME_MAX:
            raise InvalidInput(f"{name}: the name before {written} is longer than {NAME_MAX} characters")
        found.append(Mailbox(display, written))
        if len(found) > most:
            raise InvalidInput(f"{name} has more than {most} address{'es' if most > 1 else ''}")
        at = entry.end()
    return found


def _is_address(written: str) -> bool:
    """Whether this is an address; what some receivers would decode (`=?utf-8?q?…?=`) is none."""
    return (
        _ADDRESS.fullmatch(written) is not None
        and len(written.rpartition("@")[0]) <= _LOCAL_MAX
        and "=?" not in written
    )


def _ascii(address: str) -> str:
    """Return the address with its domain as the wire has it: münchen.example is xn--mnchen-3ya.example."""
    local, at, domain = address.rpartition("@")
    if domain.isascii() or len(domain) > _DOMAIN_MAX:
        return address
    try:
        return f"{local}{at}{domain.encode('idna').decode()}"
    except UnicodeError:
        return address
