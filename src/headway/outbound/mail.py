"""Mails: put together from values that are texts and nothing else, sent over kept connections to a server that the policy lets through.

A mail carries the `Message-ID` that it is given: the same mail sent again has the same, and mailboxes that care show one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime
from typing import Final

import aiosmtplib
import msgspec

from headway.errors import InvalidInput
from headway.outbound.egress import AddressRefused, EgressPolicy, Target
from headway.outbound.failure import SendFailed, shown
from headway.outbound.headers import Mailbox, field, mailboxes, text
from headway.outbound.letter import RECIPIENTS_MAX, Mail, MailServer, addresses, one_line, sender_of

TIMEOUT_S: Final = 30.0
"""Timeout of one mail, in seconds, from the connection to the server's acceptance."""
SUBJECT_MAX: Final = 500
CONNECTIONS_MAX: Final = 4
"""Maximum number of connections to one server."""
MAILS_PER_CONNECTION: Final = 100
"""Number of mails after which a connection is closed, as servers with such a limit do."""
IDLE_S: Final = 30.0
"""Time for which a connection is kept for the next mail, in seconds."""
_MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class Envelope(msgspec.Struct, frozen=True):
    """A complete mail, ready to be sent by SMTP."""

    sender: str
    recipients: list[str]
    content: bytes


class Mailer:
    """Sends mails, over connections that are kept for the next ones."""

    def __init__(
        self, policy: EgressPolicy, *, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` holds the trusted certificates, in place of the system's."""
        self._policy = policy
        self._timeout_s = timeout_s
        self._tls = tls
        self._pools: dict[MailServer, _Pool] = {}

    async def send(self, server: MailServer, mail: Mail) -> None:
        """Hand the mail over; raise SendFailed if not all recipients were taken. Takes no longer than the timeout."""
        try:
            target = self._policy.mail_server(server.host, server.port)
        except InvalidInput as error:
            raise SendFailed("target_refused", error.detail, retryable=False, unreachable=True) from None
        envelope = compose(server, mail)
        pool = self._pools.get(server)
        if pool is None:
            pool = self._pools[server] = _Pool()
        try:
            async with pool.room:  # waiting for others does not count
                async with asyncio.timeout(self._timeout_s):
                    refused = await self._send(pool, server, target, envelope)
        except TimeoutError:
            text = f"{server.host} did not take the mail within {self._timeout_s:g} s"
            raise SendFailed("timeout", text, retryable=True, unreachable=True) from None
        except aiosmtplib.SMTPException as error:
            raise _failure(server, error) from None
        except AddressRefused:
            text = f"{server.host} leads to an address that is not public"
            raise SendFailed("target_refused", text, retryable=False, unreachable=True) from None
        except (OSError, ValueError) as error:
            text = f"{server.host}:{server.port} cannot be reached: {_why(error)}"
            raise SendFailed("unreachable", text, retryable=True, unreachable=True) from None
        if refused:
            raise _refused(server, refused, len(envelope.recipients))

    async def _send(
        self, pool: _Pool, server: MailServer, target: Target, envelope: Envelope
    ) -> dict[str, aiosmtplib.SMTPResponse]:
        while pool.idle:  # the server closed an idle connection: send on a new one
            with contextlib.suppress(aiosmtplib.SMTPServerDisconnected):
                return await self._hand_over(pool, pool.take(), envelope)
        return await self._hand_over(pool, await self._connect(server, target, envelope.sender), envelope)

    async def _hand_over(
        self, pool: _Pool, connection: _Connection, envelope: Envelope
    ) -> dict[str, aiosmtplib.SMTPResponse]:
        smtp = connection.smtp
        try:
            refused, _ = await smtp.sendmail(
                envelope.sender, envelope.recipients, envelope.content, timeout=self._timeout_s
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            refused = {each.recipient: aiosmtplib.SMTPResponse(each.code, each.message) for each in error.recipients}
        except BaseException:
            connection.close()
            raise
        connection.mails += 1
        if smtp.is_connected and connection.mails < MAILS_PER_CONNECTION:
            pool.idle.append(connection)
            connection.timer = asyncio.get_running_loop().call_later(IDLE_S, pool.drop, connection)
        else:
            connection.close()
        return refused

    async def _connect(self, server: MailServer, target: Target, sender: str) -> _Connection:
        sock = await self._policy.dial(target)
        smtp = aiosmtplib.SMTP(
            hostname=server.host,
            sock=sock,
            username=server.username or None,
            password=server.password or None,
            local_hostname=sender.rpartition("@")[2],
            timeout=self._timeout_s,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",  # and no mail without, whatever the server says it can do
            tls_context=None if server.security == "plain" else self._tls,
        )
        try:
            await smtp.connect()
        except BaseException:
            sock.close()
            raise
        return _Connection(smtp)

    async def close(self) -> None:
        """Let go of every connection."""
        for pool in self._pools.values():
            while pool.idle:
                pool.take().close()
        self._pools.clear()


class _Connection:
    def __init__(self, smtp: aiosmtplib.SMTP) -> None:
        self.smtp = smtp
        self.mails = 0
        self.timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Let go of it at once: TLS would wait for a word of farewell."""
        transport = self.smtp.transport
        self.smtp.close()
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()


class _Pool:
    """The connections to one server."""

    def __init__(self) -> None:
        self.idle: list[_Connection] = []
        self.room = asyncio.Semaphore(CONNECTIONS_MAX)

    def take(self) -> _Connection:
        """Return a connection that is not in use; there must be one."""
        connection = self.idle.pop()
        if connection.timer is not None:
            connection.timer.cancel()
        return connection

    def drop(self, connection: _Connection) -> None:
        """Close a connection that was idle for IDLE_S."""
        self.idle.remove(connection)
        connection.close()


def compose(server: MailServer, mail: Mail) -> Envelope:
    """Return the complete mail; raise SendFailed for an invalid header or address."""
    try:
        to, cc, bcc = (addresses(given, name) for name, given in (("to", mail.to), ("cc", mail.cc), ("bcc", mail.bcc)))
        everyone = list(dict.fromkeys(mailbox.address for mailbox in (*to, *cc, *bcc)))
        _check_size(mail, len(everyone))
        sender = sender_of(server)
        reply_to = addresses(server.reply_to, "reply_to", most=1)
        fields = [
            ("From", mailboxes([sender])),
            ("To", mailboxes(to)),
            ("Cc", mailboxes(cc)),
            ("Reply-To", mailboxes(reply_to)),
            ("Subject", text(one_line(mail.subject, "subject"))),
            ("Date", [format_datetime(datetime.fromtimestamp(mail.at_ms / 1000, UTC))]),
            ("Message-ID", [_message_id(mail, sender)]),
            ("Auto-Submitted", ["auto-generated"]),  # no out-of-office replies
        ]
        head = b"".join(field(name, words) for name, words in fields if words)
        return Envelope(sender.address, everyone, head + _content(mail))
    except InvalidInput as error:
        raise SendFailed("bad_mail", error.detail, retryable=False) from None
    except ValueError as error:  # half of a surrogate pair in the body, a time before year 1
        raise SendFailed("bad_mail", f"the mail cannot be put together: {shown(str(error))}", retryable=False) from None


def _message_id(mail: Mail, sender: Mailbox) -> str:
    if not _MESSAGE_ID.fullmatch(one_line(mail.message_id, "message_id")):
        raise InvalidInput("message_id has other characters than letters, digits, full stops, - and _")
    return f"<{mail.message_id}@{sender.address.rpartition('@')[2]}>"


def _content(mail: Mail) -> bytes:
    """Return the text and the HTML with the headers that are theirs, in ASCII."""
    message = EmailMessage(policy=WIRE)
    message.set_content(mail.text or ("" if not mail.html else "This mail is in HTML."), cte="quoted-printable")
    if mail.html:
        message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    return message.as_bytes()


def _check_size(mail: Mail, recipients: int) -> None:
    if not recipients:
        raise InvalidInput("the mail has no recipient")
    if recipients > RECIPIENTS_MAX:
        raise InvalidInput(f"the mail has {recipients} recipients; at most {RECIPIENTS_MAX} are taken")
    if len(mail.subject) > SUBJECT_MAX:
        raise InvalidInput(f"the subject is longer than {SUBJECT_MAX} characters")


def _failure(server: MailServer, error: aiosmtplib.SMTPException) -> SendFailed:
    host = server.host
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            detail = f"{host} does not take the user name and password: {error.code} {shown(error.message)}"
            return SendFailed("smtp_login", detail, retryable=False, unreachable=True)
        case aiosmtplib.SMTPResponseException() if error.code > 0:
            detail = f"{host} refused the mail: {error.code} {shown(error.message)}"
            whole = isinstance(
                error, aiosmtplib.SMTPConnectError | aiosmtplib.SMTPHeloError | aiosmtplib.SMTPSenderRefused
            )
            return SendFailed(f"smtp_{error.code}", detail, retryable=_passes(error.code), unreachable=whole)
        case aiosmtplib.SMTPServerDisconnected():
            return SendFailed("unreachable", f"{host} closed the connection", retryable=True, unreachable=True)
        case aiosmtplib.SMTPConnectError() if isinstance(error.__cause__, OSError):
            detail = f"{host} cannot be spoken to: {_why(error.__cause__)}"
            return SendFailed("unreachable", detail, retryable=True, unreachable=True)
        case _:
            detail = f"{host} does not speak SMTP as it should: {shown(str(error.message))}"
            return SendFailed("unreachable", detail, retryable=True, unreachable=True)


def _refused(server: MailServer, refused: dict[str, aiosmtplib.SMTPResponse], recipients: int) -> SendFailed:
    """Some recipients were taken, or none: with some, another try would send it to them twice."""
    detail = "; ".join(f"{who}: {answer.code} {shown(answer.message)}" for who, answer in refused.items())
    some = len(refused) < recipients
    text = f"{server.host} refused {len(refused)} of {recipients} recipients: {detail}"
    retryable = not some and all(_passes(answer.code) for answer in refused.values())
    return SendFailed("smtp_recipients", text, retryable=retryable)


def _passes(code: int) -> bool:
    """Tell whether the server says that it may be another time."""
    return 400 <= code < 500  # noqa: PLR2004 - RFC 5321, 4.2.1


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS as it should"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return "the name does not resolve"
