"""Handler for the caller's key, its permissions and its rate limits: GET /api/v1/status."""

from __future__ import annotations

from typing import Final

from headway.compat.tadabase import words
from headway.features.access.keys import Keys
from headway.web.call import Call
from headway.web.ratelimits import DAY_MS, MINUTE_MS, Window
from headway.web.reply import Reply, json

UNLIMITED: Final = words.Limit(allowed=None, remaining=None, resets_in_seconds=None, reset_timestamp=None)


async def status(call: Call) -> Reply:
    """GET /api/v1/status: get the caller's key, its permissions and its remaining requests."""
    who = call.principal
    made_at = None if who.key_id is None else call.services.get(Keys).created_at(who.key_id)
    created_at = None if made_at is None else words.wall_time(made_at, call.services.zone)
    rates, now_ms = call.rates, call.now_ms()
    call.show_limits()
    writes = "record:write" in who.scopes
    return json(
        words.KeyStatus(
            api_key=words.ApiKey(id=who.key_id, created_at=created_at),
            permissions=words.Permissions(
                read="record:read" in who.scopes,
                create=writes,
                update=writes,
                delete=writes,
                tasks="run:start" in who.scopes,
                imports=writes,
                exports="record:read" in who.scopes,
                logs="audit:read" in who.scopes,
            ),
            per_minute_limit=UNLIMITED if rates is None else _left(rates.tightest(MINUTE_MS), now_ms),
            per_day_limit=UNLIMITED if rates is None else _left(rates.tightest(DAY_MS), now_ms),
        )
    )


def _left(window: Window, now_ms: int) -> words.Limit:
    return words.Limit(
        allowed=window.limit,
        remaining=max(0, window.limit - window.mine - window.others),
        resets_in_seconds=max(0, -(-(window.ends_at - now_ms) // 1000)),
        reset_timestamp=window.ends_at // 1000,
    )
