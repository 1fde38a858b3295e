"""The Tadabase surface, plugged into the server."""

from __future__ import annotations

from typing import Final

from headway.compat.tadabase.credentials import CREDENTIALS
from headway.compat.tadabase.routes import routes
from headway.compat.tadabase.settings import TadabaseSettings
from headway.web.surface import BEARER, Surface

SURFACE: Final = Surface(
    name="tadabase",
    title="Headway as Tadabase's Tasks API",
    description="""\
Tasks are listed, run, watched and terminated, and records of tables read and changed, as in Tadabase's REST API.

Times are `YYYY-MM-DD HH:MM:SS` by the clock on the wall of the organisation's zone. Bodies are JSON, forms, multipart or
absent. Errors have `type`, `msg` and `status`; `errors` says of a validation what is wrong, by field.""",
    schemes={
        **{
            f"tadabase_{part}": {
                "type": "apiKey",
                "in": "header",
                "name": f"X-Tadabase-App-{part}",
                "description": of,
            }
            for part, of in (
                ("id", "The id of the key's organisation."),
                ("key", "The public id of the key: what stands after `hw_`."),
                ("secret", "The secret of the key: what stands after its id."),
            )
        },
        "key": BEARER,
    },
    ways=(("tadabase_id", "tadabase_key", "tadabase_secret"), ("key",)),
    routes=routes,
    settings=TadabaseSettings,
    credentials=CREDENTIALS,
    headers=("X-Tadabase-App-Id", "X-Tadabase-App-Key", "X-Tadabase-App-Secret", "X-Tadabase-Queue-Equation"),
)
