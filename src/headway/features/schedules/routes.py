"""Routes and handlers for schedules. `{schedule}` takes a schedule's name as well."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from headway.durations import format_ms
from headway.errors import BadCursor
from headway.features.schedules.model import PastSlot, Schedule
from headway.features.schedules.rules.declaring import differs
from headway.features.schedules.rules.policy import Slot
from headway.features.schedules.service import Schedules, sentence
from headway.features.schedules.terms import spelled
from headway.kernel.permissions import of_task
from headway.kernel.run import Run
from headway.protocol import schedules as wire
from headway.protocol.runs import Because, RunOut
from headway.protocol.times import to_text, to_text_or_none
from headway.web import present
from headway.web.call import Call, etag, number
from headway.web.paging import next_link
from headway.web.parameters import PAGE_MAX
from headway.web.reply import NO_CONTENT, Reply, json
from headway.web.route import Route, route

_PURPOSE: Final = "schedules"
"""Purpose of the page tokens, which are valid for one list and its filters."""


# -- how they are shown --------------------------------------------------------------------------------------------------


def schedule_out(schedule: Schedule) -> wire.ScheduleOut:
    """Show a schedule."""
    active = "ended" if schedule.next_at is None else "active"
    return wire.ScheduleOut(
        id=schedule.id,
        name=schedule.name,
        description=schedule.description,
        task=schedule.task,
        state="paused" if schedule.paused else active,  # type: ignore[arg-type]  # one of the three
        problem=schedule.problem or None,
        occurrence=schedule.occurrence,
        explanation=sentence(schedule),
        timezone=schedule.timezone,
        starts_at=to_text_or_none(schedule.starts_at),
        ends_at=to_text_or_none(schedule.ends_at),
        overlap=schedule.overlap.value,
        queue_max=schedule.queue_max,
        catch_up=schedule.catch_up.value,
        catch_up_max=schedule.catch_up_max,
        catch_up_window=format_ms(schedule.catch_up_window_ms),
        late_after=format_ms(schedule.late_after_ms),
        jitter=format_ms(schedule.jitter_ms),
        input=Raw(schedule.input.encode()),
        labels=schedule.labels,
        key=schedule.key,
        priority=schedule.priority,
        queue=schedule.queue,
        max_attempts=schedule.max_attempts,
        declared=schedule.declared,
        differs=list(map(spelled, differs(schedule))),
        decided_until=to_text(schedule.last_slot),
        next_slot_at=to_text_or_none(schedule.next_at),
        created_at=to_text(schedule.created_at),
        updated_at=to_text(schedule.updated_at),
        version=schedule.version,
        url=_url(schedule),
    )


def slot_out(slot: PastSlot) -> wire.SlotOut:
    """Show a decided slot."""
    return wire.SlotOut(
        slot=to_text(slot.nominal),
        until=to_text_or_none(slot.until),
        outcome=slot.outcome.value,
        why=slot.why,
        message=slot.detail,
        run_id=slot.run_id,
        decided_at=to_text(slot.decided_at),
    )


def _coming(schedule: Schedule, slots: list[Slot]) -> wire.PreviewOut:
    data = [
        wire.ComingSlot(slot=to_text(slot.nominal), local=slot.local, run_at=to_text(slot.run_at)) for slot in slots
    ]
    explanation = sentence(schedule)
    return wire.PreviewOut(
        occurrence=schedule.occurrence, explanation=explanation, timezone=schedule.timezone, data=data
    )


def _url(schedule: Schedule) -> str:
    return f"/v1/schedules/{schedule.id}"


def _shown(schedule: Schedule) -> Reply:
    return json(schedule_out(schedule), 200, etag(schedule.version))


def _named(call: Call) -> str:
    return call.arguments["schedule"]


# -- handlers ------------------------------------------------------------------------------------------------------------


async def create(call: Call) -> Reply:
    """POST /v1/schedules: make a schedule.

    Errors: `unknown_task`, `invalid_schedule`, `idempotency_key_reused`, `storage_full`, `overloaded`,
    `schedule_exists`.
    """
    spec = call.asked(wire.CreateSchedule)
    call.check(*of_task(spec.task))
    schedule = await call.services.get(Schedules).create(spec, call.request_key())
    if spec.validate_only:
        return json(schedule_out(schedule))
    location = (b"location", _url(schedule).encode())
    return json(schedule_out(schedule), 201, etag(schedule.version), location)


async def list_schedules(call: Call) -> Reply:
    """GET /v1/schedules: list schedules, by name.

    Errors: `bad_cursor`.
    """
    asked = call.parameters(wire.ScheduleQuery)
    purpose = f"{_PURPOSE} of {asked.task!r}"
    after = _opened(call, purpose, asked.page_token)
    found, last = await call.services.get(Schedules).page(asked.task, after, min(asked.page_size, PAGE_MAX))
    token = call.services.cursors.conceal(purpose, last) if last else ""
    shown = wire.ScheduleList(data=list(map(schedule_out, found)), next_page_token=token, has_more=bool(token))
    return json(shown, 200, *_links(call, token))


async def get(call: Call) -> Reply:
    """GET /v1/schedules/{schedule}: get a schedule, by its id or its name.

    Errors: `schedule_not_found`.
    """
    return _shown(await call.services.get(Schedules).get(_named(call)))


async def patch(call: Call) -> Reply:
    """PATCH /v1/schedules/{schedule}: change a schedule.

    Errors: `schedule_not_found`, `unknown_task`, `invalid_schedule`, `idempotency_key_reused`, `storage_full`,
    `overloaded`, `schedule_exists`, `version_mismatch`.
    """
    asked = call.asked(wire.PatchSchedule)
    await _check_task(call)
    if isinstance(asked.task, str):
        call.check(*of_task(asked.task))
    schedules = call.services.get(Schedules)
    return _shown(await schedules.patch(_named(call), asked, call.expected_version(), call.request_key()))


async def _check_task(call: Call) -> None:
    """Raise Forbidden for a schedule of a built-in task whose effects the caller could not have by a start of its own."""
    call.check(*of_task((await call.services.get(Schedules).get(_named(call))).task))


async def delete(call: Call) -> Reply:
    """DELETE /v1/schedules/{schedule}: remove a schedule; its runs go on.

    Errors: `schedule_not_found`, `version_mismatch`.
    """
    await call.services.get(Schedules).delete(_named(call), call.expected_version())
    return NO_CONTENT


async def pause(call: Call) -> Reply:
    """POST /v1/schedules/{schedule}:pause: pause a schedule; runs in progress go on.

    Errors: `schedule_not_found`.
    """
    return _shown(await call.services.get(Schedules).pause(_named(call), call.request_key()))


async def resume(call: Call) -> Reply:
    """POST /v1/schedules/{schedule}:resume: resume a schedule.

    Errors: `schedule_not_found`, `invalid_schedule`.
    """
    how = call.asked(wire.ResumeSchedule)
    await _check_task(call)
    return _shown(await call.services.get(Schedules).resume(_named(call), how, call.request_key()))


async def trigger(call: Call) -> Reply:
    """POST /v1/schedules/{schedule}:trigger: start a run now, beside the slots.

    Errors: `schedule_not_found`, `unknown_task`, `invalid_schedule`, `idempotency_key_reused`, `storage_full`,
    `overloaded`, `task_inactive`, `draining`, `schedule_busy`.
    """
    call.refuse_if_draining()
    how = call.asked(wire.TriggerSchedule)
    await _check_task(call)
    run: Run = await call.services.get(Schedules).trigger(_named(call), how, call.request_key())
    return json(present.run_out(run), 202, etag(run.version), (b"location", f"/v1/runs/{run.id}".encode()))


async def backfill(call: Call) -> Reply:
    """POST /v1/schedules/{schedule}:backfill: run slots that have passed without a run.

    Errors: `schedule_not_found`, `unknown_task`, `invalid_schedule`, `idempotency_key_reused`, `storage_full`,
    `overloaded`, `task_inactive`, `draining`.
    """
    call.refuse_if_draining()
    asked = call.asked(wire.BackfillSchedule)
    await _check_task(call)
    if asked.dry_run:
        call.check("see missed slots")
    filled = await call.services.get(Schedules).backfill(_named(call), asked, call.request_key())
    data = [wire.BackfilledSlot(slot=to_text(slot.nominal), run_id=slot.run_id) for slot in filled.slots]
    return json(wire.BackfillOut(dry_run=filled.dry_run, data=data))


async def slots(call: Call) -> Reply:
    """GET /v1/schedules/{schedule}/slots: what became of slots, newest first.

    Errors: `schedule_not_found`, `bad_cursor`.
    """
    asked = call.parameters(wire.SlotQuery)
    schedule = await call.services.get(Schedules).get(_named(call))
    purpose = f"{_PURPOSE}, slots of {schedule.id}, {asked.outcome}"
    before = _opened(call, purpose, asked.page_token)
    found, last = await call.services.get(Schedules).slots(
        schedule.id, asked.outcome, number(before, "page_token") if before else None, min(asked.page_size, PAGE_MAX)
    )
    token = "" if last is None else call.services.cursors.conceal(purpose, str(last))
    shown = wire.SlotList(data=list(map(slot_out, found)), next_page_token=token, has_more=bool(token))
    return json(shown, 200, *_links(call, token))


async def preview_schedule(call: Call) -> Reply:
    """GET /v1/schedules/{schedule}/preview: the next slots of a schedule.

    Errors: `schedule_not_found`.
    """
    asked = call.parameters(wire.PreviewQuery)
    return json(_coming(*await call.services.get(Schedules).coming(_named(call), asked.count)))


async def preview(call: Call) -> Reply:
    """POST /v1/schedules:preview: when something would fire.

    Errors: `invalid_schedule`.
    """
    return json(_coming(*call.services.get(Schedules).preview(call.asked(wire.PreviewSchedule))))


def _opened(call: Call, purpose: str, token: str) -> str:
    if not token:
        return ""
    found = call.services.cursors.reveal(purpose, token) if token.isascii() else None
    if found is None:
        raise BadCursor("the page_token was not made for this list")
    return found


def _links(call: Call, token: str) -> tuple[tuple[bytes, bytes], ...]:
    return (next_link(call.path, call.raw_query, token),) if token else ()


# -- routes --------------------------------------------------------------------------------------------------------------

_START: Final = ("start a run",)
_KEYED: Final = ("Idempotency-Key",)
_KNOWN: Final = ("schedule_not_found",)
_SAID: Final = ("unknown_task", "invalid_schedule", "idempotency_key_reused", "storage_full", "overloaded")
_STARTS: Final = (*_KNOWN, *_SAID, "task_inactive", "draining")

ROUTES: Final[tuple[Route, ...]] = (
    route("POST", "/v1/schedules", create, "schedule:write", "Make a schedule.", does=_START,
          takes=wire.CreateSchedule, gives=wire.ScheduleOut, status=201, also=(200,), problems=(*_SAID, "schedule_exists"),
          headers=_KEYED,
          logged="schedule.create"),
    route("GET", "/v1/schedules", list_schedules, "schedule:read", "List schedules, by name.",
          query=wire.ScheduleQuery, gives=wire.ScheduleList, problems=("bad_cursor",)),
    route("POST", "/v1/schedules:preview", preview, "schedule:read", "Preview the slots of an occurrence.",
          takes=wire.PreviewSchedule, gives=wire.PreviewOut, problems=("invalid_schedule",)),
    route("GET", "/v1/schedules/{schedule}", get, "schedule:read", "Get a schedule, by its id or its name.",
          gives=wire.ScheduleOut, problems=_KNOWN),
    route("PATCH", "/v1/schedules/{schedule}", patch, "schedule:write", "Change a schedule.", does=_START,
          takes=wire.PatchSchedule, gives=wire.ScheduleOut,
          problems=(*_KNOWN, *_SAID, "schedule_exists", "version_mismatch"),
          headers=("If-Match", *_KEYED),
          logged="schedule.patch"),
    route("DELETE", "/v1/schedules/{schedule}", delete, "schedule:write", "Remove a schedule; its runs go on.",
          status=204, problems=(*_KNOWN, "version_mismatch"), headers=("If-Match",),
          logged="schedule.delete"),
    route("POST", "/v1/schedules/{schedule}:pause", pause, "schedule:write", "Pause a schedule; runs in progress go on.",
          takes=Because, optional=True, gives=wire.ScheduleOut, problems=_KNOWN, headers=_KEYED,
          logged="schedule.pause"),
    route("POST", "/v1/schedules/{schedule}:resume", resume, "schedule:write", "Resume a schedule.", does=_START,
          takes=wire.ResumeSchedule, optional=True, gives=wire.ScheduleOut, problems=(*_KNOWN, "invalid_schedule"),
          headers=_KEYED,
          logged="schedule.resume"),
    route("POST", "/v1/schedules/{schedule}:trigger", trigger, "schedule:write", "Start a run now, independently of the slots.", does=_START,
          takes=wire.TriggerSchedule, optional=True, gives=RunOut, status=202, problems=(*_STARTS, "schedule_busy"),
          headers=_KEYED,
          logged="schedule.trigger"),
    route("POST", "/v1/schedules/{schedule}:backfill", backfill, "schedule:write", "Start runs for past slots without one.", does=_START,
          takes=wire.BackfillSchedule, gives=wire.BackfillOut, problems=_STARTS, headers=_KEYED,
          logged="schedule.backfill"),
    route("GET", "/v1/schedules/{schedule}/slots", slots, "schedule:read", "List past slots with their outcomes, newest first.",
          query=wire.SlotQuery, gives=wire.SlotList, problems=(*_KNOWN, "bad_cursor")),
    route("GET", "/v1/schedules/{schedule}/preview", preview_schedule, "schedule:read", "Preview the next slots of a schedule.",
          query=wire.PreviewQuery, gives=wire.PreviewOut, problems=_KNOWN),
)  # fmt: skip
