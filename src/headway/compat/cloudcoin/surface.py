"""The CloudCoin surface, plugged into the server."""

from __future__ import annotations

from typing import Final

from headway.compat.cloudcoin.routes import RUN_TYPE, routes
from headway.compat.cloudcoin.settings import CloudcoinSettings
from headway.web.call import StartPolicy
from headway.web.surface import BEARER, Surface

SURFACE: Final = Surface(
    name="cloudcoin",
    title="Headway as CloudCoin's task API",
    description="""\
Commands start tasks, and tasks are polled under the path of every generation of CloudCoin's programs.

An error has `status` and, where the generation has an envelope, a `payload` that is a task that failed. Its `code` is one of
theirs, from 4096 on. With `HEADWAY_CLOUDCOIN_STRICT` errors come with HTTP 200, as from the original.""",
    schemes={
        "key": BEARER,
        "token": {
            "type": "apiKey",
            "in": "query",
            "name": "token",
            "description": "The key, for clients that can only be given a URL.",
        },
    },
    ways=(("key",), ("token",)),
    routes=routes,
    settings=CloudcoinSettings,
    policy=StartPolicy(run_type=RUN_TYPE),
)
