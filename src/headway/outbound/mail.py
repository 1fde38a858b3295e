"""Mails: built so that no value breaks out of its header, sent over kept connections to a server that the guard lets through.

A mail carries the `Message-ID` that it is given: the same mail sent again has the same, and mailboxes that care show one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime
from typing import Final

import aiosmtplib

from headway.errors import InvalidInput
from headway.outbound.failure import SendFailed, shown
from headway.outbound.guard import AddressRefused, Guard, Target
from headway.outbound.letter import RECIPIENTS_MAX, Mail, MailServer, addresses, one_line

TIMEOUT_S: Final = 30.0
"""For one mail, from the connection to the server's word that it has it."""
SUBJECT_MAX: Final = 500
CONNECTIONS_MAX: Final = 4
"""To one server at once."""
MAILS_PER_CONNECTION: Final = 100
"""Servers that count close after so many."""
IDLE_S: Final = 30.0
"""How long a connection is kept for the next mail."""


class Mailer:
    """Sends mails, over connections that are kept for the next ones."""

    def __init__(self, guard: Guard, *, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None) -> None:
        """`tls` says which certificates are trusted, if not those of the system."""
        self._guard = guard
        self._timeout_s = timeout_s
        self._tls = tls
        self._pools: dict[MailServer, _Pool] = {}

    async def send(self, server: MailServer, mail: Mail) -> None:
        """Hand the mail over; raise SendFailed if not all recipients were taken. Takes no longer than the timeout."""
        try:
            target = self._guard.mail_server(server.host, server.port)
        except InvalidInput as error:
            raise SendFailed("target_refused", error.detail, retryable=False, unreachable=True) from None
        message, recipients = compose(server, mail)
        pool = self._pools.get(server)
        if pool is None:
            pool = self._pools[server] = _Pool()
        try:
            async with pool.room:  # waiting for others does not count
                async with asyncio.timeout(self._timeout_s):
                    refused = await self._send(pool, server, target, message, recipients)
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
            raise _refused(server, refused, len(recipients))

    async def _send(
        self, pool: _Pool, server: MailServer, target: Target, message: EmailMessage, recipients: list[str]
    ) -> dict[str, aiosmtplib.SMTPResponse]:
        raw = message.as_bytes(policy=WIRE)
        while pool.idle:  # a server closes what was idle for too long: then it is said on a new one
            with contextlib.suppress(aiosmtplib.SMTPServerDisconnected):
                return await self._hand_over(pool, pool.take(), server.sender, recipients, raw)
        return await self._hand_over(pool, await self._connect(server, target), server.sender, recipients, raw)

    async def _hand_over(
        self, pool: _Pool, connection: _Connection, sender: str, recipients: list[str], raw: bytes
    ) -> dict[str, aiosmtplib.SMTPResponse]:
        smtp = connection.smtp
        try:
            refused, _ = await smtp.sendmail(sender, recipients, raw, timeout=self._timeout_s)
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

    async def _connect(self, server: MailServer, target: Target) -> _Connection:
        sock = await self._guard.dial(target)
        smtp = aiosmtplib.SMTP(
            hostname=server.host,
            sock=sock,
            username=server.username or None,
            password=server.password or None,
            local_hostname=server.sender.rpartition("@")[2],
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
        """Close a connection that nobody wanted for a while."""
        self.idle.remove(connection)
        connection.close()


def compose(server: MailServer, mail: Mail) -> tuple[EmailMessage, list[str]]:
    """Return the message and everyone it goes to; raise SendFailed if a header or an address cannot be as it is."""
    try:
        to, cc, bcc = (addresses(text, name) for name, text in (("to", mail.to), ("cc", mail.cc), ("bcc", mail.bcc)))
        everyone = list(dict.fromkeys(address.addr_spec for address in (*to, *cc, *bcc)))
        _check_size(mail, len(everyone))
        message = EmailMessage(policy=WIRE)
        message["From"] = Address(display_name=one_line(server.sender_name, "sender_name"), addr_spec=server.sender)
        if to:
            message["To"] = to
        if cc:
            message["Cc"] = cc
        if server.reply_to:
            message["Reply-To"] = server.reply_to
        message["Subject"] = one_line(mail.subject, "subject")
        message["Date"] = format_datetime(datetime.fromtimestamp(mail.at_ms / 1000, UTC))
        message["Message-ID"] = f"<{one_line(mail.message_id, 'message_id')}>"
        message["Auto-Submitted"] = "auto-generated"  # so that nobody's absence is answered to it
        message.set_content(mail.text or ("" if not mail.html else "This mail is in HTML."), cte="quoted-printable")
        if mail.html:
            message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    except InvalidInput as error:
        raise SendFailed("bad_mail", error.detail, retryable=False) from None
    except (ValueError, UnicodeError) as error:  # the standard library refuses what we let through
        raise SendFailed("bad_mail", f"the mail cannot be put together: {shown(str(error))}", retryable=False) from None
    return message, everyone


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
            said = f"{host} does not take the user name and password: {error.code} {shown(error.message)}"
            return SendFailed("smtp_login", said, retryable=False, unreachable=True)
        case aiosmtplib.SMTPResponseException() if error.code > 0:
            said = f"{host} refused the mail: {error.code} {shown(error.message)}"
            whole = isinstance(
                error, aiosmtplib.SMTPConnectError | aiosmtplib.SMTPHeloError | aiosmtplib.SMTPSenderRefused
            )
            return SendFailed(f"smtp_{error.code}", said, retryable=_passes(error.code), unreachable=whole)
        case aiosmtplib.SMTPServerDisconnected():
            return SendFailed("unreachable", f"{host} closed the connection", retryable=True, unreachable=True)
        case aiosmtplib.SMTPConnectError() if isinstance(error.__cause__, OSError):
            said = f"{host} cannot be spoken to: {_why(error.__cause__)}"
            return SendFailed("unreachable", said, retryable=True, unreachable=True)
        case _:
            said = f"{host} does not speak SMTP as it should: {shown(str(error.message))}"
            return SendFailed("unreachable", said, retryable=True, unreachable=True)


def _refused(server: MailServer, refused: dict[str, aiosmtplib.SMTPResponse], recipients: int) -> SendFailed:
    """Some recipients were taken, or none: with some, another try would send it to them twice."""
    said = "; ".join(f"{who}: {answer.code} {shown(answer.message)}" for who, answer in refused.items())
    some = len(refused) < recipients
    text = f"{server.host} refused {len(refused)} of {recipients} recipients: {said}"
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
    return "the name leads nowhere"
