"""Who takes calls and mails: real servers, which can be told to misbehave."""

import asyncio
import contextlib
import email
import socket
from email.policy import default

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult


class Site:
    """A web server that keeps what it was sent, and answers as `answer` says: a status, a response, or a coroutine."""

    def __init__(self, tls=None):
        self.calls = []
        self.connections = set()
        self.answer = 204
        self._tls = tls

    async def begin(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        where = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await where.start()
        self.port = where._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hook"

    async def end(self):
        await self._runner.cleanup()

    async def _take(self, request):
        body = await request.read()
        self.connections.add(request.transport.get_extra_info("peername"))
        self.calls.append((request.method, request.path, dict(request.headers), body))
        said = self.answer(request) if callable(self.answer) else self.answer
        if asyncio.iscoroutine(said):
            said = await said
        return web.Response(status=said) if isinstance(said, int) else said


class Raw:
    """A listener that answers every connection with fixed bytes, after reading what comes first, or with silence.

    One that `drips` goes on with a byte every few milliseconds for ever, so that something always comes.
    """

    def __init__(self, says=b"", *, speaks_first=False, closes=True, drips=b""):
        self.says, self.speaks_first, self.closes, self.drips = says, speaks_first, closes, drips
        self.connections = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._open = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writer in self._open:
            writer.close()
        for writer in self._open:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader, writer):
        self.connections += 1
        self._open.add(writer)
        with contextlib.suppress(OSError):
            if not self.speaks_first:
                await reader.read(65_536)
            writer.write(self.says)
            await writer.drain()
            while self.drips and not writer.is_closing():
                writer.write(self.drips)
                await writer.drain()
                await asyncio.sleep(0.01)
            if not self.closes:
                await reader.read()
        if self.closes:
            writer.close()


class MisbehavingMailServer:
    """A mail server that does as it should up to a step of the conversation, and then does something else for ever."""

    STEPS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "end")

    def __init__(self, step, lie):
        """`lie` is bytes, or `silence`, `close` or `drip`."""
        self.step, self.lie = step, lie
        self.asked = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._open = set()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        for writer in self._open:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader, writer):
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            for step in self.STEPS:
                if step == "end":
                    await reader.readuntil(b"\r\n.\r\n")
                elif step != "greeting":
                    await reader.readline()
                if step == self.step:
                    await self._turn(reader, writer)
                    return
                writer.write({"greeting": b"220 hi\r\n", "DATA": b"354 go on\r\n"}.get(step, b"250 ok\r\n"))

    async def _turn(self, reader, writer):
        self.asked.set()
        if self.lie == "close":
            writer.close()
            return
        if isinstance(self.lie, bytes):
            writer.write(self.lie)
        while self.lie == "drip" and not writer.is_closing():
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0.01)
        while await reader.read(65_536):
            pass


class MailBox:
    """A mail server that keeps what it takes; `refuse` says of a recipient what it is answered instead of 250."""

    def __init__(self, tls=None, *, starttls=False, implicit=False, login=None):
        self.mails = []
        self.raw = []
        self.sessions = set()
        self.refuse = {}
        self.after_data = "250 OK"
        more = {}
        if starttls:
            more = {"tls_context": tls, "require_starttls": True}
        if login:
            more |= {"authenticator": self._login, "auth_required": True, "auth_require_tls": bool(tls)}
            self._accepted = login
        self._more = more
        self._implicit = tls if implicit else None

    async def begin(self):
        loop = asyncio.get_running_loop()
        self._sessions = []

        def session():
            made = SMTP(self, hostname="mail.test", loop=loop, **self._more)
            self._sessions.append(made)
            return made

        self._server = await loop.create_server(session, "127.0.0.1", 0, ssl=self._implicit)
        self.port = self._server.sockets[0].getsockname()[1]

    async def end(self):
        self._server.close()
        for each in self._sessions:
            for transport in (each.transport, each._original_transport):
                if transport is not None:
                    transport.abort()
        await asyncio.sleep(0)  # in the loop's next round they are closed
        others = asyncio.all_tasks() - {asyncio.current_task()}
        # Not the task of the test runner that waits for this fixture.
        accepting = {task for task in others if not task.get_coro().__qualname__.startswith("TestRunner.")}
        if accepting:
            await asyncio.wait(accepting, timeout=5)

    def _login(self, server, session, envelope, mechanism, data):
        said = (data.login.decode(), data.password.decode())
        return AuthResult(success=said == self._accepted, handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd's name
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.sessions.add(session.peer)
        if not self.after_data.startswith("250"):
            return self.after_data
        self.raw.append(envelope.content)
        message = email.message_from_bytes(envelope.content, policy=default)
        self.mails.append((envelope.mail_from, list(envelope.rcpt_tos), message))
        return self.after_data


def leading_to(*addresses):
    """What a name resolves to: the next of these each time, and the last for ever."""
    left = list(addresses)

    async def resolve(host, port):
        now = left.pop(0) if len(left) > 1 else left[0]
        found = []
        for text in now.split():
            family = socket.AF_INET6 if ":" in text else socket.AF_INET
            found.append((family, socket.SOCK_STREAM, 6, "", (text, port)))
        return found

    return resolve
