"""Plug of the tables: their parts of service, routes, built-in tasks, retention and checks."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

from headway.feature import Feature
from headway.features.tables import file_routes, files, routes
from headway.features.tables.built_in_tasks import TASKS
from headway.features.tables.check import findings
from headway.features.tables.definitions import TableContext, Tables, sweep
from headway.features.tables.exports import Exports
from headway.features.tables.external.database import ExternalDatabases
from headway.features.tables.external.tables import ExternalTables
from headway.features.tables.files import Files
from headway.features.tables.imports import Imports
from headway.features.tables.records import Records
from headway.runs.service import Service
from headway.store.verify import RowCheck


def _context(service: Service, organisation: int) -> TableContext:
    def zone() -> tzinfo:  # read each time, since it may change
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - as in kernel/zone.py

        return ZoneInfo(service.of(organisation).zone)

    return TableContext(service.store, service.ids, organisation, zone, service.part(ExternalTables))


def _records(service: Service, organisation: int) -> Records:
    return Records(_context(service, organisation), service.of(organisation).get(Tables))


def _imports(service: Service, organisation: int) -> Imports:
    services = service.of(organisation)
    return Imports(service.store, services.get(Tables), services.get(Files), service.ids)


def _exports(service: Service, organisation: int) -> Exports:
    services = service.of(organisation)
    tables, records, stored = services.get(Tables), services.get(Records), services.get(Files)
    return Exports(service.store, tables, records, stored, service.ids, organisation)


async def _prune(service: Service) -> None:
    """Remove rows of deleted tables and fields, and files that have expired."""
    await sweep(service.store)
    await files.prune(service.store)


async def _close(service: Service) -> None:
    """Close the connections to external databases."""
    service.part(ExternalDatabases).close()


TABLES: Final = Feature(
    name="tables",
    parts={
        ExternalDatabases: lambda service: ExternalDatabases.of(service.settings),
        ExternalTables: lambda service: ExternalTables(service.part(ExternalDatabases), service.vault),
    },
    services={
        Tables: lambda service, organisation: Tables(_context(service, organisation)),
        Records: _records,
        Files: lambda service, organisation: Files(service.store, service.ids, organisation),
        Imports: _imports,
        Exports: _exports,
    },
    routes=(*routes.ROUTES, *file_routes.ROUTES),
    built_in_tasks=TASKS,
    prune=_prune,
    close=_close,
    checks=(RowCheck(findings, documents={"tables": ("definition",), "records": ("data",)}),),
)
