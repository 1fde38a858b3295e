"""Handlers for runs."""

from __future__ import annotations

from typing import Final

import msgspec

from headway.errors import HeadwayError, NotFinished
from headway.kernel.permissions import OF_BUILT_IN, of_task
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import FINAL, Reason, Run
from headway.protocol import runs as wire
from headway.protocol.values import invalid
from headway.runs.filters import to_filter
from headway.runs.idempotency import RequestKey
from headway.runs.runs import StartResult
from headway.web import present, problem
from headway.web.answers import TokenCompletion
from headway.web.call import Call, StartGate, StartPolicy, effects_of, etag, version_of
from headway.web.paging import in_query, next_link, next_token, page_of
from headway.web.queries import Children, CountRuns, GetRun, ListAfter
from headway.web.reply import NO_CONTENT, Reply, encode, json

RETRY_AFTER: Final = (b"retry-after", b"1")
REPLAYED: Final = (b"idempotency-replayed", b"true")
ASYNC: Final = (b"preference-applied", b"respond-async")
CHILDREN_MAX: Final = 100
GATE: Final = StartGate(StartPolicy())
"""Start gate of the native API."""


# -- starting ----------------------------------------------------------------------------------------------------------


async def start(call: Call) -> Reply:
    """POST /v1/runs."""
    spec: wire.StartRun = call.body
    started = await GATE.start(call, spec)
    if b"prefer" in call.headers and not spec.validate_only:
        return await _patiently(call, started)
    return accepted(started, validated=spec.validate_only)


def accepted(started: StartResult, *applied: tuple[bytes, bytes], validated: bool = False) -> Reply:
    """Return the reply to a start: 202 for a new run, 200 for an existing one or a check alone."""
    run = started.run
    headers = (*applied, etag(run.version), (b"location", f"/v1/runs/{run.id}".encode()))
    if started.created:
        return Reply(202, present.run_json(run), (*headers, RETRY_AFTER))
    if validated:
        return Reply(200, present.run_json(run))
    return Reply(200, present.run_json(run), (*headers, REPLAYED) if started.replayed else headers)


async def _patiently(call: Call, started: StartResult) -> Reply:
    wait_ms = call.preferred_wait_ms()
    if wait_ms is None:
        return accepted(started, *((ASYNC,) if call.prefers_async() else ()))
    run = await _wait(call, started.run, wait_ms, final=True)
    applied = wait_applied(wait_ms)
    if run.state not in FINAL:
        return accepted(msgspec.structs.replace(started, run=run), applied)
    replayed = (REPLAYED,) if started.replayed else ()
    location = (b"location", f"/v1/runs/{run.id}".encode())
    return Reply(200, present.run_json(run), (applied, etag(run.version), location, *replayed))


async def _wait(call: Call, run: Run, wait_ms: int, *, final: bool, version: int | None = None) -> Run:
    """Wait for the run's end, or for another version; return the run as it is then, after the time, or on a drain."""
    known = run.version if version is None else version

    def until(found: Run) -> bool:
        return found.state in FINAL or (not final and found.version != known)

    if until(run) or wait_ms == 0 or call.server.draining:
        return run
    with call.cancel_on_disconnect() as wait:
        return await call.service.runs.wait(run.id, wait_ms / 1000, until)
    assert wait.over is not None
    return await call.service.runs.get(run.id)


def wait_applied(wait_ms: int) -> tuple[bytes, bytes]:
    """Return the header with the preference that was applied, in seconds (RFC 7240)."""
    return (b"preference-applied", b"wait=%d" % (wait_ms // 1000))


async def start_batch(call: Call) -> Reply:
    """POST /v1/runs:batch."""
    asked = call.asked(wire.StartBatch)
    with GATE.permit(call, *{effect: None for spec in asked.runs for effect in effects_of(spec)}):
        outcomes = await call.service.runs.start_batch(asked, call.request_key())
    replayed = any(isinstance(outcome, StartResult) and outcome.replayed for outcome in outcomes)
    items = [_item(outcome, index) for index, outcome in enumerate(outcomes)]
    return json(wire.BatchOut(data=items), 200, *((REPLAYED,) if replayed else ()))


def _item(outcome: StartResult | HeadwayError, index: int) -> wire.BatchItem:
    if isinstance(outcome, StartResult):
        return wire.BatchItem(status=202 if outcome.created else 200, run=present.run_out(outcome.run))
    return wire.BatchItem(status=outcome.status, error=problem.document(outcome, f"/v1/runs:batch#/runs/{index}"))


# -- looking -----------------------------------------------------------------------------------------------------------


async def get(call: Call) -> Reply:
    """GET /v1/runs/{id}."""
    run = await call.service.runs.get(call.run_id())
    headers = call.headers
    applied: tuple[tuple[bytes, bytes], ...] = ()
    known = headers.get(b"if-none-match")
    asked: GetRun = call.query
    if b"prefer" in headers:
        wait_ms = call.preferred_wait_ms()
        if wait_ms is not None:
            version = None if known is None else version_of(known.decode("latin-1"))
            run = await _wait(call, run, wait_ms, final=asked.wait_for == "final", version=version)
            applied = (wait_applied(wait_ms),)
    if known is not None and _matches(known, run.version) and not asked.expand:
        return Reply(304, b"", (etag(run.version), *applied))
    body = call.server.frames.run(run)
    if "children" in asked.expand:
        children, _ = await call.service.runs.page(
            RunFilter(parent_id=run.id), Page(CHILDREN_MAX, None, newest_first=False)
        )
        body = body[:-1] + b',"children":' + encode([present.run_out(child) for child in children]) + b"}"
    return Reply(200, body, (etag(run.version), *applied))


def _matches(known: bytes, version: int) -> bool:
    return known.strip() == b"*" or any(version_of(tag) == version for tag in known.decode("latin-1").split(","))


async def output(call: Call) -> Reply:
    """GET /v1/runs/{id}/output."""
    run = await call.service.runs.get(call.run_id())
    wait_ms = call.preferred_wait_ms()
    if wait_ms is not None:
        run = await _wait(call, run, wait_ms, final=True)
    if run.state not in FINAL:
        raise NotFinished(f"the run is {run.state}", state=str(run.state))
    applied = () if wait_ms is None else (wait_applied(wait_ms),)
    return json(present.output_out(run), 200, etag(run.version), *applied)


async def list_runs(call: Call) -> Reply:
    """GET /v1/runs."""
    asked = call.parameters(wire.RunQuery)
    page = await _page(call, asked, in_query(asked))
    if not page.next_page_token:
        return json(page)
    return json(page, 200, next_link(call.path, call.raw_query, page.next_page_token))


async def query(call: Call) -> Reply:
    """POST /v1/runs:query."""
    asked = call.asked(wire.RunQuery)
    return json(await _page(call, asked, to_filter(asked)))


async def _page(call: Call, asked: wire.RunQuery, wanted: RunFilter) -> wire.RunList:
    service = call.service
    found, after = await service.runs.page(wanted, page_of(asked, wanted, service.cursors))
    token = next_token(asked, service.cursors, after) if after else ""
    return wire.RunList(data=[present.run_out(run) for run in found], next_page_token=token, has_more=bool(after))


async def children(call: Call) -> Reply:
    """GET /v1/runs/{id}/children."""
    asked = call.parameters(Children)
    run = await call.service.runs.get(call.run_id())
    whole = wire.RunQuery(
        parent_id=run.id, order_by="created_at asc", page_size=asked.page_size, page_token=asked.page_token
    )
    page = await _page(call, whole, to_filter(whole))
    if not page.next_page_token:
        return json(page)
    return json(page, 200, next_link(call.path, call.raw_query, page.next_page_token))


async def count(call: Call) -> Reply:
    """GET /v1/runs:count."""
    asked = call.parameters(CountRuns)
    counts = await call.service.runs.count(in_query(asked), asked.group_by)
    return json(wire.CountOut(counts=counts, total=sum(counts.values())))


async def logs(call: Call) -> Reply:
    """GET /v1/runs/{id}/logs."""
    asked = call.parameters(ListAfter)
    found, more = await call.service.history.page(call.run_id(), asked.after, asked.page_size, "run.log")
    lines = [present.log_out(event) for event in found]
    return json(wire.LogList(data=lines, next_after=lines[-1].seq if lines else asked.after, has_more=more))


async def results(call: Call) -> Reply:
    """GET /v1/runs/{id}/results."""
    asked = call.parameters(ListAfter)
    found, more = await call.service.history.results(call.run_id(), asked.after, asked.page_size)
    shown = [present.result_out(result) for result in found]
    return json(wire.ResultList(data=shown, next_after=shown[-1].number if shown else asked.after, has_more=more))


async def attempts(call: Call) -> Reply:
    """GET /v1/runs/{id}/attempts."""
    found = await call.service.history.attempts(call.run_id())
    return json(wire.AttemptList(data=[present.attempt_out(attempt) for attempt in found]))


async def waiting(call: Call) -> Reply:
    """GET /v1/runs/{id}/waiting."""
    named = call.may("see a worker")
    return json(present.waiting_out(*await call.service.history.waiting(call.run_id(), named=named)))


# -- changing ----------------------------------------------------------------------------------------------------------


def _shown(run: Run, key: RequestKey | None = None) -> Reply:
    headers = (etag(run.version), REPLAYED) if key is not None and key.replayed else (etag(run.version),)
    return Reply(200, present.run_json(run), headers)


async def patch(call: Call) -> Reply:
    """PATCH /v1/runs/{id}."""
    key = call.request_key()
    return _shown(
        await call.service.runs.patch(call.run_id(), call.asked(wire.PatchRun), call.expected_version(), key), key
    )


async def delete(call: Call) -> Reply:
    """DELETE /v1/runs/{id}."""
    run_id, version = call.run_id(), call.expected_version()
    await call.service.runs.delete(run_id, version)
    return NO_CONTENT


async def terminate(call: Call) -> Reply:
    """POST /v1/runs/{id}:terminate."""
    key = call.request_key()
    asked = call.asked(wire.Terminate)
    asked = msgspec.structs.replace(asked, actor=call.actor(asked.actor))
    return _shown(await call.service.runs.terminate(call.run_id(), asked, key), key)


async def suspend(call: Call) -> Reply:
    """POST /v1/runs/{id}:suspend."""
    key = call.request_key()
    return _shown(await call.service.runs.suspend(call.run_id(), _reason(call, "suspended"), key), key)


async def resume(call: Call) -> Reply:
    """POST /v1/runs/{id}:resume."""
    key = call.request_key()
    return _shown(await call.service.runs.resume(call.run_id(), _reason(call, "resumed"), key), key)


async def signal(call: Call) -> Reply:
    """POST /v1/runs/{id}:signal."""
    key = call.request_key()
    return _shown(await call.service.runs.signal(call.run_id(), call.asked(wire.SignalRun), key), key)


async def retry(call: Call) -> Reply:
    """POST /v1/runs/{id}:retry."""
    await _check_repeat(call)
    key = call.request_key()
    asked = call.asked(wire.RetryRun)
    reason = Reason(code="retried", message=asked.reason, actor=call.actor(asked.actor))
    run = await call.service.runs.retry(call.run_id(), reason, key, from_scratch=asked.from_scratch)
    replayed = key is not None and key.replayed
    return accepted(StartResult(run, created=not replayed, replayed=replayed))


async def _check_repeat(call: Call) -> None:
    """Raise Forbidden for a run of a built-in task whose effects the caller could not have by a start of its own."""
    if not all(map(call.may, OF_BUILT_IN.values())):
        call.check(*of_task((await call.service.runs.get(call.run_id())).task))


async def protect(call: Call) -> Reply:
    """POST /v1/runs/{id}:protect."""
    key = call.request_key()
    return _shown(await call.service.runs.protect(call.run_id(), protected=True, request=key), key)


async def unprotect(call: Call) -> Reply:
    """POST /v1/runs/{id}:unprotect."""
    key = call.request_key()
    return _shown(await call.service.runs.protect(call.run_id(), protected=False, request=key), key)


async def complete(call: Call) -> Reply:
    """POST /v1/tokens/{token}:complete."""
    token, value = call.arguments["token"], call.asked(wire.CompleteToken).value
    run = await call.service.runs.complete_token(token, value, call.request_key())
    return json(TokenCompletion(run_id=run.id, state=run.state))


def _reason(call: Call, code: str) -> Reason:
    because = call.asked(wire.Because)
    return Reason(code=code, message=because.reason, actor=call.actor(because.actor))


def _refuse_paging(asked: wire.RunQuery) -> None:
    """Raise InvalidInput for parameters of pages and order: a bulk action has neither."""
    for name, plain in (("page_size", 50), ("page_token", ""), ("order_by", None)):
        if getattr(asked, name) != plain:
            raise invalid(f"/filter/{name}", "a bulk action has no pages")


async def bulk(call: Call) -> Reply:
    """POST /v1/runs:bulk: say how many it would touch, or start the run that does it."""
    action = call.asked(wire.BulkAction)
    wanted = to_filter(action.filter)
    _refuse_paging(action.filter)
    if action.from_scratch and action.action != "retry":
        raise invalid("/from_scratch", "only a retry starts from scratch")
    if action.dry_run:
        call.check("count runs")
        counts = await call.service.runs.count(wanted, None)
        return json(wire.BulkPreview(count=sum(counts.values()), action=action.action))
    call.refuse_if_draining()
    spec = wire.StartRun(task="headway.bulk", input=msgspec.Raw(encode(action)), name=f"bulk {action.action}")
    return accepted(await call.service.runs.start(spec, call.request_key()))
