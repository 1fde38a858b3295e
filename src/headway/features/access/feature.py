"""Plug of access: its parts of the service, routes, loop and checks."""

from __future__ import annotations

from typing import Final

from headway.feature import Feature
from headway.features.access import routes
from headway.features.access.access import Access
from headway.features.access.check import findings
from headway.features.access.keys import Keys
from headway.features.access.loop import UsageFlusher
from headway.features.access.organisations import Organisations
from headway.features.access.store import AccessChanged
from headway.features.access.users import Users
from headway.store.verify import RowCheck
from headway.web.access_control import AccessControl

ACCESS: Final = Feature(
    name="access",
    relayed=(AccessChanged,),
    parts={
        Access: lambda service: Access(service.store, service.signer, service.settings),
        AccessControl: lambda service: service.part(Access),
        Organisations: lambda service: Organisations(service.store, service.part(Access), service.ids),
    },
    services={
        Keys: lambda service, organisation: Keys(service.store, service.part(Access), service.signer, organisation),
        Users: lambda service, organisation: Users(service.store, service.part(Access), service.ids, organisation),
    },
    routes=routes.ROUTES,
    loops=(UsageFlusher,),
    checks=(RowCheck(findings),),
)
