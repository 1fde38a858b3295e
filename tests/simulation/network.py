"""The network between clients, workers and the server: it loses, delays, repeats and reorders what it carries."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import Context
from typing import TYPE_CHECKING, Any

from tests.simulation.chance import FaultRates
from tests.simulation.loop import ALIVE, SimulatedProcess, VirtualLoop

from headway.errors import HeadwayError
from headway.runs.service import Service

if TYPE_CHECKING:
    from tests.simulation.server import Server

Verb = Callable[[Service], Awaitable[Any]]
"""What a request does when it has arrived; made so that it can arrive twice."""


class ConnectionLost(Exception):
    """There is no answer: nobody knows what became of the request."""


class Exchange:
    """A request under way, and whoever waits for its answer."""

    def __init__(self, life: SimulatedProcess | None, answer: asyncio.Future[Any], *, patient: bool) -> None:
        self.life, self.answer, self.patient = life, answer, patient
        self.handlers: list[asyncio.Task[None]] = []


class Network:
    """Every message of a simulation passes here."""

    def __init__(self, loop: VirtualLoop, rates: FaultRates, rng: random.Random, say: Callable[..., None]) -> None:
        self._loop, self._weather, self._rng, self._say = loop, rates, rng, say
        self._open: dict[Exchange, None] = {}
        self._streams: dict[Stream, None] = {}
        self.server: Server | None = None
        self.on_bug: Callable[[Exception], None] = lambda bug: None
        """Called with what the server raises and does not mean to."""
        self.nowhere = Context()
        """The context of what is under way: it belongs to no process, so that no death takes it along."""

    def later(self, delay_s: float, function: Callable[..., Any], *arguments: Any) -> None:
        """Let something happen on the wire."""
        self._loop.call_later(delay_s, function, *arguments, context=self.nowhere)

    def delay_s(self) -> float:
        """Draw how long a message takes: as a rule a moment, now and then so long that others overtake it."""
        if self._weather.hits(self._rng, "delay"):
            return self._rng.uniform(0.5, 12.0)
        return self._rng.uniform(0.0002, 0.02)

    async def call(self, name: str, verb: Verb, *, within_s: float = 6.0, patient: bool = False) -> Any:
        """Send a request and return the answer; raise the error that it was answered with, or ConnectionLost.

        The server notices that one who waits patiently has gone; other requests it carries out all the same.
        """
        exchange = Exchange(ALIVE.get(), self._loop.create_future(), patient=patient)
        self._open[exchange] = None
        try:
            self._send(name, verb, exchange)
            if self._weather.hits(self._rng, "duplicate"):
                self._say("twice", name)
                self._send(name, verb, exchange)
            async with asyncio.timeout(within_s):
                return await exchange.answer
        except TimeoutError:
            self._hang_up(exchange)
            raise ConnectionLost from None
        finally:
            self._open.pop(exchange, None)

    def _send(self, name: str, verb: Verb, exchange: Exchange) -> None:
        if self._weather.hits(self._rng, "drop_request"):
            self._say("dropped", name)
            self._lose(exchange)
        else:
            self.later(self.delay_s(), self._arrive, name, verb, exchange)

    def _lose(self, exchange: Exchange) -> None:
        """Break the connection, or say nothing at all and let the caller wait."""
        if self._rng.random() < 0.7:
            self.later(self._rng.uniform(0.001, 1.0), self._settle, exchange, None, ConnectionLost())

    def _arrive(self, name: str, verb: Verb, exchange: Exchange) -> None:
        assert self.server is not None
        service, life = self.server.service, self.server.life
        if service is None or life is None:
            self._settle(exchange, None, ConnectionLost())
        else:
            exchange.handlers.append(life.spawn(self._handle(name, verb, service, exchange)))

    async def _handle(self, name: str, verb: Verb, service: Service, exchange: Exchange) -> None:
        """In the server: carry it out and send the answer."""
        try:
            answer, error = await verb(service), None
        except HeadwayError as refusal:
            answer, error = None, refusal
        except Exception as bug:  # noqa: BLE001 - told to who runs the simulation
            self.on_bug(bug)
            return
        if self._weather.hits(self._rng, "drop_answer"):
            self._say("unheard", name)
            self._lose(exchange)
        else:
            self.later(self.delay_s(), self._settle, exchange, answer, error)

    def _settle(self, exchange: Exchange, answer: Any, error: Exception | None) -> None:
        if exchange.answer.done() or (exchange.life is not None and exchange.life.dead):
            return
        if error is None:
            exchange.answer.set_result(answer)
        else:
            exchange.answer.set_exception(error)
            exchange.answer.exception()  # who asked may die before they look

    def _hang_up(self, exchange: Exchange) -> None:
        if exchange.patient and self._rng.random() < 0.7:  # else the server finds out never, or when it answers
            self.later(self._rng.uniform(0.001, 2.0), self._leave, exchange)

    def _leave(self, exchange: Exchange) -> None:
        for handler in exchange.handlers:
            handler.cancel()

    def stream(self, source: Callable[[Service], AsyncIterator[Any]]) -> Stream:
        """Open a stream from the server."""
        stream = Stream(self, self._loop, self._rng, source)
        self._streams[stream] = None
        self.later(self.delay_s(), self._open_stream, stream)
        return stream

    def _open_stream(self, stream: Stream) -> None:
        assert self.server is not None
        service, life = self.server.service, self.server.life
        if service is None or life is None:
            self.close(stream)
        elif not stream.closed:
            stream.feeder = life.spawn(stream.feed(service))

    def breaks(self) -> bool:
        """Tell whether a stream breaks now."""
        return self._weather.hits(self._rng, "break_stream")

    def close(self, stream: Stream) -> None:
        """Break a stream; the reader notices at once, the server soon."""
        if not stream.closed:
            stream.closed = True
            stream.items.put_nowait(ConnectionLost())
            if stream.feeder is not None:
                self.later(self._rng.uniform(0.0, 0.5), stream.feeder.cancel)
        self._streams.pop(stream, None)

    def dead(self, life: SimulatedProcess) -> None:
        """A client has died: the server notices."""
        for exchange in [one for one in self._open if one.life is life]:
            del self._open[exchange]
            self._hang_up(exchange)
        for stream in [one for one in self._streams if one.life is life]:
            self.close(stream)

    def refused(self) -> None:
        """The server has died: whoever waits for it notices, sooner or later."""
        for exchange in self._open:
            if exchange.handlers:
                self.later(self._rng.uniform(0.0, 0.5), self._settle, exchange, None, ConnectionLost())
        for stream in tuple(self._streams):
            self.later(self._rng.uniform(0.0, 0.5), self.close, stream)


class Stream:
    """One long answer, item by item and in order, until it breaks."""

    def __init__(
        self,
        network: Network,
        loop: VirtualLoop,
        rng: random.Random,
        source: Callable[[Service], AsyncIterator[Any]],
    ) -> None:
        self._network, self._loop, self._rng, self._source = network, loop, rng, source
        self._sent_at = 0.0
        self.life = ALIVE.get()
        self.items: asyncio.Queue[Any] = asyncio.Queue()
        self.feeder: asyncio.Task[None] | None = None
        self.closed = False

    async def feed(self, service: Service) -> None:
        """In the server: send what there is."""
        try:
            async with aclosing(self._source(service)) as items:  # type: ignore[type-var]
                async for item in items:
                    if self._network.breaks():
                        break
                    if item is not None:  # else it only says that it is there
                        self._send(item)
        except HeadwayError as refusal:
            self._send(refusal)
        self._network.later(0.0, self._network.close, self)

    def _send(self, item: Any) -> None:
        self._sent_at = max(self._sent_at + 1e-6, self._loop.time() + self._rng.uniform(0.0002, 0.02))
        self._network.later(self._sent_at - self._loop.time(), self._deliver, item)

    def _deliver(self, item: Any) -> None:
        if not self.closed:
            self.items.put_nowait(item)

    async def next(self) -> Any:
        """Return the next item; raise ConnectionLost at the end, or the error that the server answered with."""
        item = await self.items.get()
        if isinstance(item, Exception):
            raise item
        return item
