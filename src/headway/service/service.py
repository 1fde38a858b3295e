"""The service: everything over one store. Loops and workers hold this; surfaces hold the desk of their organisation."""

from __future__ import annotations

from collections.abc import Callable

from headway.config import Settings
from headway.ids import IdSource, Signer
from headway.outbound.gateway import Gateway
from headway.outbound.guard import Guard
from headway.service.access.access import Access
from headway.service.access.organisations import Organisations
from headway.service.bulk import Bulk
from headway.service.claiming import Alarm, unpark_freed
from headway.service.desk import Desk
from headway.service.reporting import Reporter
from headway.service.schemas import Schemas
from headway.service.servers import Servers
from headway.service.sessions import Sessions
from headway.service.slots import Slots, let_next
from headway.service.starting import Drafter
from headway.service.tables.external import databases
from headway.service.workers import Workers
from headway.storage.store import Store
from headway.vault import Vault, as_secrets


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
        self.gateway = gateway or Gateway(Guard.of(settings))
        self.schemas = Schemas(self.gateway.children)
        self.sessions = Sessions(store.clock, lease_ms=settings.lease_ms, disconnect_ms=settings.disconnect_ms)
        self.drafter = Drafter(store.catalog, store.clock, self.ids, self.schemas, settings)
        reporter = Reporter(self.drafter, signer, settings)
        self.bulk = Bulk(store, self.ids)
        self.slots = Slots(store, self.drafter)
        self.workers = Workers(store, self.sessions, reporter, self.schemas, self.slots, self.ids, settings)
        self.servers = Servers(store, self.sessions)
        self.access = Access(store, signer, settings)
        """Who is let in; see `headway.service.access`."""
        self.organisations = Organisations(store, self.access, self.ids)
        self._desks: dict[int, Desk] = {}
        self.alarms: dict[tuple[str, str], int] = {}
        """Lanes that a rate has closed, and when they open again."""
        self.on_alarm: Callable[[int], None] = lambda at_ms: None
        """Called with the moment at which such a lane opens."""
        store.on_signal = self._signal
        store.on_regained = self.sessions.excuse
        for writer in store.writers:
            writer.after_freed = (unpark_freed,)
            writer.after_ended = (let_next,)

    def of(self, organisation: int) -> Desk:
        """Return the desk at which the organisation is served; always the same one."""
        desk = self._desks.get(organisation)
        if desk is None:
            desk = self._desks[organisation] = Desk(self, organisation)
        return desk

    def _signal(self, worker_id: str, message: object) -> None:
        if isinstance(message, Alarm):
            self.alarms[message.queue, message.task] = message.at_ms
            self.on_alarm(message.at_ms)
        else:
            self.sessions.tell(worker_id, message)
