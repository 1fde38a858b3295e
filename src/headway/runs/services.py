"""Organisation-scoped services: each is bound to one organisation and reaches no other.

A surface holds the services of its caller and nothing else, so that it cannot reach another organisation by mistake. An
object of another organisation is answered like one that does not exist. Arguments and results have the organisation's own
names; stored names are qualified (`kernel.namespace`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from headway.kernel.namespace import Namespace
from headway.runs.cursors import Cursors
from headway.runs.history import History
from headway.runs.runs import Runs
from headway.runs.tasks import Queues, Tasks
from headway.runs.workers import Workers

if TYPE_CHECKING:
    from headway.runs.service import Service


T = TypeVar("T")


class OrganisationServices:
    """One object a noun: `services.runs.start(…)`, `services.queues.pause(…)`. `Service.of` hands it out."""

    def __init__(self, service: Service, organisation: int) -> None:
        self._service = service
        self._nouns: dict[type, Any] = {}
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
        found = self._nouns.get(kind)
        if found is None:
            make = self._service.noun_makers.get(kind)
            if make is None:
                raise LookupError(f"no feature of this service has {kind.__name__}")
            found = self._nouns[kind] = make(self._service, self.organisation)
        return cast(T, found)
