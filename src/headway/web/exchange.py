"""Exchange: a call with its endpoint and its dialect, which only the request pipeline knows."""

from __future__ import annotations

import msgspec

from headway.web.call import Call
from headway.web.dialect import Dialect
from headway.web.router import Endpoint


class Exchange(Call):
    """One request in the pipeline; handlers see it as a Call."""

    endpoint: Endpoint | None = None
    brief: type[msgspec.Struct] | None = None
    """Struct to which the answer is reduced, for callers without the scope to see more; set by the authorizer."""
    dialect: Dialect | None = None
    """The dialect of the answer: that of the route, or of the surface that claims a request without a route."""
