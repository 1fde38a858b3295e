"""Every surface beside the native API, in the order in which they claim what no route takes.

Two of them share `/api/v1`. Static paths come before parameters, so `/api/v1/tasks/status` is Tadabase's and
`/api/v1/tasks/0199…` CloudCoin's, whose ids are UUIDs and whose commands are none of the reserved words (`commands.py`).
"""

from __future__ import annotations

from headway.compat.cloudcoin.routes import routes as cloudcoin
from headway.compat.tadabase.routes import routes as tadabase
from headway.config import Settings
from headway.http.route import Route


def routes(settings: Settings) -> tuple[Route, ...]:
    """Return the routes of every surface; raise ValueError for a setting that a surface cannot use."""
    return (*tadabase(), *cloudcoin(settings))
