"""Plug of the record tasks: their parts of service, workers, routes, removal of runs and checks."""

from __future__ import annotations

from typing import Final

from headway.feature import Feature
from headway.features.record_tasks import routes
from headway.features.record_tasks.check import findings
from headway.features.record_tasks.executor import RECORDS
from headway.features.record_tasks.mail_server import MailServers
from headway.features.record_tasks.service import RecordTasks
from headway.features.tables.definitions import Tables
from headway.features.tables.records import Records
from headway.runs.service import Service
from headway.store.verify import RowCheck


def _record_tasks(service: Service, organisation: int) -> RecordTasks:
    services = service.of(organisation)
    tables, records = services.get(Tables), services.get(Records)
    return RecordTasks(
        service.store, services.namespace, tables, records, services.runs, service.gateway, service.vault
    )


RECORD_TASKS: Final = Feature(
    name="record_tasks",
    services={
        RecordTasks: _record_tasks,
        MailServers: lambda service, organisation: MailServers(
            service.store, service.gateway, service.vault, organisation
        ),
    },
    removals=("delete_record_errors",),
    routes=routes.ROUTES,
    executors=(RECORDS,),
    checks=(RowCheck(findings, documents={"record_tasks": ("definition",)}),),
)
