"""Exchange: a call with its route and its dialect, which only the request pipeline knows."""

from __future__ import annotations

from headway.web.call import Call
from headway.web.dialect import Dialect
from headway.web.route import Route


class Exchange(Call):
    """One request on its way through the pipeline; handlers see it as a Call."""

    route: Route | None = None
    dialect: Dialect | None = None
    """The dialect of the answer: that of the route, or of the surface that claims a request without a route."""
