"""The service: everything over one store. Loops and workers hold this; surfaces hold the desk of their organisation."""

from __future__ import annotations

from typing import Final

from headway.config import Settings
from headway.ids import IdSource, Signer
from headway.notify.events import AccessChanged, ClaimsLeft, LaneClosed, StopRequested, StorageRegained
from headway.outbound.egress import EgressPolicy
from headway.outbound.gateway import Gateway
from headway.service import slots
from headway.service.access.access import Access
from headway.service.access.organisations import Organisations
from headway.service.bulk import Bulk
from headway.service.desk import Desk
from headway.service.hooks import Hook, table
from headway.service.reactions import HOOKS
from headway.service.reporting import ReportProcessor
from headway.service.schemas import Schemas
from headway.service.servers import Servers
from headway.service.sessions import Sessions
from headway.service.slots import Slots
from headway.service.starting import Drafter
from headway.service.tables.external import databases
from headway.service.workers import Workers
from headway.storage.catalog import Lane
from headway.storage.schedules import SlotDue
from headway.storage.store import Store
from headway.vault import Vault, as_secrets

RELAYED: Final = (StopRequested, AccessChanged, SlotDue)
"""After-commit events that servers relay to each other."""
ALL_LANES: Final[Lane] = ("", "")


class Service:
    """What belongs to no organisation, and the way to what does: `service.of(1).runs.start(…)`."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        settings: Settings,
        ids: IdSource | None = None,
        gateway: Gateway | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.signer = signer
        self.vault = Vault(signer.secret, as_secrets(settings.earlier_secrets))
        self.databases = databases(settings)
        """External databases that tables are of."""
        self.ids = ids or IdSource()
        self.gateway = gateway or Gateway(EgressPolicy.of(settings))
        self.schemas = Schemas(self.gateway.children)
        self.sessions = Sessions(
            store.clock, store.events, lease_ms=settings.lease_ms, disconnect_ms=settings.disconnect_ms
        )
        self.drafter = Drafter(store.catalog, store.clock, self.ids, self.schemas, settings)
        reports = ReportProcessor(self.drafter, signer, settings)
        self.bulk = Bulk(store, self.ids)
        self.slots = Slots(store, self.drafter)
        self.workers = Workers(store, self.sessions, reports, self.schemas, self.slots, self.ids, settings)
        self.servers = Servers(store, self.sessions)
        self.access = Access(store, signer, settings)
        """Who is let in; see `headway.service.access`."""
        self.organisations = Organisations(store, self.access, self.ids)
        self._desks: dict[int, Desk] = {}
        self.closed_lanes: dict[tuple[str, str], int] = {}
        """(queue, task) that a rate has closed → when they open again; ALL_LANES: claims that have to go on."""
        store.install(table(hooks_of_all()), RELAYED)
        events = store.events
        events.subscribe(StopRequested, self.sessions.stop)
        events.subscribe(StorageRegained, lambda _: self.sessions.excuse())
        events.subscribe(LaneClosed, lambda closed: self._close_lane((closed.queue, closed.task), closed.at_ms))
        events.subscribe(ClaimsLeft, lambda left: self._close_lane(ALL_LANES, left.at_ms))

    def of(self, organisation: int) -> Desk:
        """Return the desk at which the organisation is served; always the same one."""
        desk = self._desks.get(organisation)
        if desk is None:
            desk = self._desks[organisation] = Desk(self, organisation)
        return desk

    def _close_lane(self, lane: Lane, at_ms: int) -> None:
        self.closed_lanes[lane] = at_ms


def hooks_of_all() -> tuple[Hook, ...]:
    """Return the hooks of the core and of the features, in the order in which they react."""
    return (*HOOKS, slots.HOOK)
