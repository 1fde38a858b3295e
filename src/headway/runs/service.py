"""The service over one store. Loops and built-in workers hold it; surfaces hold the services of their organisation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar, cast

import msgspec

from headway.config import Settings
from headway.ids import IdSource, Signer
from headway.kernel.namespace import Namespace
from headway.notify.events import ClaimsLeft, CommitEvent, LaneClosed, StopRequested, StorageRegained
from headway.outbound.egress import EgressPolicy
from headway.outbound.gateway import Gateway
from headway.runs.cursors import Cursors
from headway.runs.history import History
from headway.runs.hooks import Hook, table
from headway.runs.leases import Leases
from headway.runs.reactions import HOOKS
from headway.runs.registration import DeclarationReader, Registrar
from headway.runs.reporting import ReportProcessor
from headway.runs.runs import Runs
from headway.runs.schemas import Schemas
from headway.runs.servers import Servers
from headway.runs.sessions import Sessions
from headway.runs.starting import RunFactory
from headway.runs.tasks import Queues, Tasks
from headway.runs.workers import Workers
from headway.store.counters import Lane
from headway.store.store import Store
from headway.vault import Vault, as_secrets

T = TypeVar("T")

RELAYED: Final = (StopRequested,)
"""After-commit events of the core that servers relay to each other; features add theirs."""
ALL_LANES: Final[Lane] = ("", "")


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a feature that the service needs; `headway.feature.Feature` adds loops, routes and checks."""

    name: str
    hooks: tuple[Hook, ...] = ()
    """In-transaction reactions to transitions, after those of the core."""
    removals: tuple[str, ...] = ()
    """Statements that delete rows of removed runs, whose ids are bound as `ids`."""
    relayed: tuple[type[CommitEvent], ...] = ()
    """After-commit events that servers relay to each other."""
    parts: Mapping[type, Callable[[Service], Any]] = {}
    """Class → function that makes its one object for all organisations: `service.part(Class)`."""
    services: Mapping[type, Callable[[Service, int], Any]] = {}
    """Class → function that makes its object for one organisation: `services.get(Class)`."""
    declarations: Callable[[Service], DeclarationReader] | None = None
    """Maker of the reader of declarations of the feature in registrations of workers."""
    metrics: Callable[[Service], Iterable[Any]] | None = None
    """Prometheus metrics of the server, shown to the operator."""
    prune: Callable[[Service], Awaitable[None]] | None = None
    """Removal of rows that retention gives up; called by the pruner before tombstones go."""
    close: Callable[[Service], Awaitable[None]] | None = None
    """Release of the resources of its parts when the server ends."""


class Service:
    """Parts for all organisations, and the services of each: `service.of(1).runs.start(…)`."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        settings: Settings,
        ids: IdSource | None = None,
        gateway: Gateway | None = None,
        features: Sequence[Extension] = (),
    ) -> None:
        self.store = store
        self.settings = settings
        self.signer = signer
        self.vault = Vault(signer.secret, as_secrets(settings.earlier_secrets))
        self.ids = ids or IdSource()
        self.gateway = gateway or Gateway(EgressPolicy.of(settings))
        self.schemas = Schemas(self.gateway.children)
        self.sessions = Sessions(
            store.clock, store.events, lease_ms=settings.lease_ms, disconnect_ms=settings.disconnect_ms
        )
        self.run_factory = RunFactory(store.definitions, store.clock, self.ids, self.schemas, settings)
        self.reports = ReportProcessor(self.run_factory, signer, settings)
        self.features = tuple(features)
        self._makers = {kind: make for each in features for kind, make in each.parts.items()}
        self._parts: dict[type, Any] = {}
        self.service_makers = {kind: make for each in features for kind, make in each.services.items()}
        """Class → function that makes its object for one organisation; used by `OrganisationServices.get`."""
        declarations = [each.declarations(self) for each in features if each.declarations is not None]
        self.leases = Leases(store, self.sessions, settings.lease_ms)
        self.registrar = Registrar(store, self.schemas, self.ids, settings, declarations)
        self.servers = Servers(store, self.sessions)
        self.of: Callable[[int], OrganisationServices] = cache(
            lambda organisation: OrganisationServices(self, organisation)
        )
        """Services by organisation, always the same object."""
        self.closed_lanes: dict[tuple[str, str], int] = {}
        """Lane that a rate has closed → time at which it opens; ALL_LANES: time at which claims continue."""
        store.install(
            table(self.hooks),
            (*RELAYED, *(kind for each in features for kind in each.relayed)),
            (statement for each in features for statement in each.removals),
        )
        events = store.events
        events.subscribe(StopRequested, self.sessions.stop)
        events.subscribe(StorageRegained, lambda _: self.sessions.renew())
        events.subscribe(LaneClosed, lambda closed: self._close_lane((closed.queue, closed.task), closed.at_ms))
        events.subscribe(ClaimsLeft, lambda left: self._close_lane(ALL_LANES, left.at_ms))

    def part(self, kind: type[T]) -> T:
        """Return a feature's object for all organisations, made when it is first asked for; raise KeyError if there is none."""
        if kind not in self._parts:
            self._parts[kind] = self._makers[kind](self)
        return cast(T, self._parts[kind])

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hooks of the core and of the features, in the order in which they react."""
        return (*HOOKS, *(hook for each in self.features for hook in each.hooks))

    def _close_lane(self, lane: Lane, at_ms: int) -> None:
        self.closed_lanes[lane] = at_ms


class OrganisationServices:
    """Objects of one organisation, made by `Service.of`: `services.runs.start(…)`, `services.queues.pause(…)`.

    A surface holds the services of its caller and nothing else, so that it cannot reach another organisation by mistake. An
    object of another organisation is answered like one that does not exist. Arguments and results have the organisation's own
    names; stored names are qualified (`kernel.namespace`).
    """

    def __init__(self, service: Service, organisation: int) -> None:
        self._service = service
        self._services: dict[type, Any] = {}
        self.namespace = namespace = Namespace(organisation)
        self.organisation = organisation
        store = service.store
        self.cursors = Cursors(service.signer.within(namespace.qualify("")))

        self.runs = Runs(store, service.run_factory, service.ids, service.signer, service.settings, namespace)
        self.tasks = Tasks(store, namespace)
        self.queues = Queues(store, namespace)
        self.workers = Workers(
            store, service.sessions, service.leases, service.registrar, service.reports, service.settings, namespace
        )
        self.history = History(store, self.runs, service.sessions, service.leases, namespace)
        self._organisations = store.definitions.organisations

    @property
    def zone(self) -> str:
        """Name of the organisation's time zone."""
        return self._organisations[self.organisation].zone

    def get(self, kind: type[T]) -> T:
        """Return a feature's object for this organisation, such as `services.get(Schedules)`; raise LookupError if there is none."""
        found = self._services.get(kind)
        if found is None:
            make = self._service.service_makers.get(kind)
            if make is None:
                raise LookupError(f"no feature of this service has {kind.__name__}")
            found = self._services[kind] = make(self._service, self.organisation)
        return cast(T, found)
