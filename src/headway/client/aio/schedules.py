"""Schedules: starts of tasks by the clock (`client.schedules`)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Mapping
from typing import Any

from headway.client import encoding
from headway.client.aio import pages
from headway.client.aio.caller import AsyncCaller
from headway.client.aio.handle import AsyncRunHandle
from headway.protocol.runs import RunOut
from headway.protocol.schedules import (
    BackfilledSlot,
    BackfillOut,
    CatchUpName,
    OutcomeName,
    OverlapName,
    PreviewOut,
    ScheduleList,
    ScheduleOut,
    SlotList,
    SlotOut,
)


class AsyncSchedules:
    """Schedules of the caller's organisation. Each is given by its id or its name."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def create(
        self,
        name: str,
        task: encoding.Task,
        occurrence: str,
        input: Mapping[str, Any] | None = None,  # noqa: A002 (the word of the API)
        *,
        timezone: str | None = None,
        starts_at: encoding.Moment | None = None,
        ends_at: encoding.Moment | None = None,
        overlap: OverlapName | None = None,
        queue_max: int | None = None,
        catch_up: CatchUpName | None = None,
        catch_up_max: int | None = None,
        catch_up_window: encoding.Span | None = None,
        late_after: encoding.Span | None = None,
        jitter: encoding.Span | None = None,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
        priority: int | None = None,
        queue: str | None = None,
        max_attempts: int | None = None,
        description: str | None = None,
        paused: bool | None = None,
        validate_only: bool | None = None,
        idempotency_key: str | None = None,
    ) -> ScheduleOut:
        """Make a schedule; arguments that are None get the server's default.

            client.schedules.create("nightly", "backup", "30 2 * * *", {"folder": "/srv"}, timezone="Europe/Berlin")

        - `occurrence`: a word ("Daily"), a cron expression, an RRULE (RFC 5545), or an interval ("every 90m").
        - `timezone`: an IANA name; default "UTC".
        - `starts_at`, `ends_at`: no slot comes before or after.
        - `overlap`: a slot while an earlier run is unfinished: "skip" (default), "queue", "cancel_running" or "allow"; with "queue", at most `queue_max` runs (default 100).
        - `catch_up`: slots that passed during an outage or a pause: "latest" (default), "all" (the newest `catch_up_max`, default 100, within `catch_up_window`, default one day) or "skip" (but up to `late_after`, default one minute).
        - `jitter`: the longest delay of a run after its slot; default 0.
        - `input`, `labels`, `key`, `priority`, `queue`, `max_attempts`: of its runs, as in `client.runs.start`.
        - `validate_only`: check the request and keep nothing.

        Numbers as durations are seconds. Raises `unknown_task`, `invalid_schedule`, `storage_full`, `overloaded` or
        `schedule_exists`.
        """
        said = {
            "name": name,
            "task": task,
            "occurrence": occurrence,
            "input": input,
            "timezone": timezone,
            "starts_at": starts_at,
            "ends_at": ends_at,
            "overlap": overlap,
            "queue_max": queue_max,
            "catch_up": catch_up,
            "catch_up_max": catch_up_max,
            "catch_up_window": catch_up_window,
            "late_after": late_after,
            "jitter": jitter,
            "labels": labels,
            "key": key,
            "priority": priority,
            "queue": queue,
            "max_attempts": max_attempts,
            "description": description,
            "paused": paused,
            "validate_only": validate_only,
        }
        body = encoding.schedule_body({member: value for member, value in said.items() if value is not None})
        return await self._caller.post("/v1/schedules", body, ScheduleOut, idempotency_key=idempotency_key)

    async def list(self, *, task: encoding.Task | None = None) -> AsyncIterator[ScheduleOut]:
        """Iterate over all schedules, or those of a task, by name.

        Raises `bad_cursor`.
        """
        token = ""
        while True:
            query = encoding.path("schedules", task=task, page_size=pages.PAGE_SIZE, page_token=token or None)
            page = await self._caller.get(query, ScheduleList)
            for schedule in page.data:
                yield schedule
            token = page.next_page_token
            if not token:
                return

    async def get(self, named: str) -> ScheduleOut:
        """Return a schedule.

        Raises `schedule_not_found`.
        """
        return await self._caller.get(encoding.path("schedules", named), ScheduleOut)

    async def update(self, named: str, *, version: int | None = None, **changes: Any) -> ScheduleOut:
        """Change the given fields, named as in `create`; None clears a field that may be empty.

        With `version`, the change is made only if the schedule still has that version. Raises `schedule_not_found`,
        `unknown_task`, `invalid_schedule`, `storage_full`, `overloaded`, `schedule_exists` or `version_mismatch`.
        """
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        body = encoding.schedule_body(changes)
        return await self._caller.patch(encoding.path("schedules", named), body, ScheduleOut, headers=headers)

    async def pause(self, named: str) -> ScheduleOut:
        """Pause the schedule until `resume`; runs in progress go on.

        Raises `schedule_not_found`.
        """
        return await self._caller.post(encoding.path("schedules", named, verb="pause"), {}, ScheduleOut)

    async def resume(self, named: str, *, catch_up: CatchUpName | None = None) -> ScheduleOut:
        """Resume the schedule; `catch_up` overrides, this once, the schedule's policy for the slots of the pause.

        Raises `schedule_not_found` or `invalid_schedule`.
        """
        body = {} if catch_up is None else {"catch_up": catch_up}
        return await self._caller.post(encoding.path("schedules", named, verb="resume"), body, ScheduleOut)

    async def trigger(self, named: str, *, overlap: OverlapName | None = None, reason: str = "") -> AsyncRunHandle:
        """Start a run now, beside the slots; `overlap` overrides the schedule's policy.

        Raises `schedule_busy` if an earlier run is unfinished and `overlap` forbids another, `schedule_not_found`,
        `unknown_task`, `task_inactive`, `invalid_schedule`, `storage_full`, `overloaded` or `draining`.
        """
        body = {"reason": reason} if overlap is None else {"reason": reason, "overlap": overlap}
        run = await self._caller.post(encoding.path("schedules", named, verb="trigger"), body, RunOut)
        return AsyncRunHandle(self._caller, run)

    async def backfill(
        self,
        named: str,
        first: encoding.Moment,
        last: encoding.Moment,
        *,
        overlap: OverlapName | None = None,
        dry_run: bool = False,
    ) -> builtins.list[BackfilledSlot]:
        """Start runs for the slots from `first` to `last` that have none, at most 1,000, and return these slots.

        With `dry_run` nothing is started. `overlap` is "queue" or "allow". Raises `schedule_not_found`,
        `unknown_task`, `invalid_schedule`, `storage_full`, `overloaded`, `task_inactive` or `draining`.
        """
        body = {"from": encoding.moment(first), "to": encoding.moment(last), "dry_run": dry_run}
        if overlap is not None:
            body["overlap"] = overlap
        answer = await self._caller.post(encoding.path("schedules", named, verb="backfill"), body, BackfillOut)
        return answer.data

    async def slots(self, named: str, *, outcome: OutcomeName | None = None) -> AsyncIterator[SlotOut]:
        """Iterate over the past slots, newest first: all, or those with the outcome "ran", "skipped" or "missed".

        Raises `schedule_not_found` or `bad_cursor`.
        """
        token = ""
        while True:
            where = encoding.path(
                "schedules", named, "slots", outcome=outcome, page_size=pages.PAGE_SIZE, page_token=token or None
            )
            page = await self._caller.get(where, SlotList)
            for slot in page.data:
                yield slot
            token = page.next_page_token
            if not token:
                return

    async def coming(self, named: str, count: int = 10) -> PreviewOut:
        """Return the next `count` slots of a schedule, 1 to 100.

        Raises `schedule_not_found`.
        """
        return await self._caller.get(encoding.path("schedules", named, "preview", count=count), PreviewOut)

    async def preview(
        self,
        occurrence: str,
        *,
        timezone: str = "UTC",
        starts_at: encoding.Moment | None = None,
        ends_at: encoding.Moment | None = None,
        after: encoding.Moment | None = None,
        count: int = 10,
    ) -> PreviewOut:
        """Return the next `count` slots of a schedule that does not exist yet, from `after` (default: now).

        Raises `invalid_schedule`.
        """
        times = {"starts_at": starts_at, "ends_at": ends_at, "after": after}
        body = {"occurrence": occurrence, "timezone": timezone, "count": count}
        body |= {name: encoding.moment(value) for name, value in times.items() if value is not None}
        return await self._caller.post("/v1/schedules:preview", body, PreviewOut)

    async def delete(self, named: str) -> None:
        """Remove the schedule; its runs go on.

        Raises `schedule_not_found` or `version_mismatch`.
        """
        await self._caller.delete(encoding.path("schedules", named))
