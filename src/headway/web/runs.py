"""Handlers for runs.

A run's id is a UUID in any spelling. A body with a run has its version as `ETag`. `Idempotency-Key` makes a request
repeatable: a repetition has the first answer, with `Idempotency-Replayed: true`. `Prefer: wait=N` (RFC 7240) waits up to
N seconds, `wait_max_ms` at most, and `Preference-Applied` tells the limit that was used.
"""

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
    """POST /v1/runs: start a run.

    Answers 202 with a new run, and 200 with an existing one: of the same Idempotency-Key or dedupe key, or with
    `validate_only` the run as it would be. With `Prefer: wait=N` the answer waits for the run's end, and is 200 then.

    Errors: `unknown_task`, `task_inactive`, `duplicate_run`, `idempotency_key_reused`, `invalid_state` (the parent),
    `input_too_costly`, `storage_full`, `overloaded`, `draining`.
    """
    spec: wire.StartRun = call.body
    started = await GATE.start(call, spec)
    if b"prefer" in call.headers and not spec.validate_only:
        return await _as_preferred(call, started)
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


async def _as_preferred(call: Call, started: StartResult) -> Reply:
    """Return the reply that the `Prefer` header asks for, after a wait for the run's end if it names one."""
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
        return await call.services.runs.wait(run.id, wait_ms / 1000, until)
    assert wait.over is not None
    return await call.services.runs.get(run.id)


def wait_applied(wait_ms: int) -> tuple[bytes, bytes]:
    """Return the header with the preference that was applied, in seconds (RFC 7240)."""
    return (b"preference-applied", b"wait=%d" % (wait_ms // 1000))


async def start_batch(call: Call) -> Reply:
    """POST /v1/runs:batch: start up to 1,000 runs in one transaction.

    Answers 200 with one item for each run, in order: 202 or 200 with the run, or the status of its error. With `atomic`
    the first error is that of the whole request, and no run is started.

    Errors: as of a start, and `duplicate_run`, `invalid_state`, `input_too_costly`, `unknown_task` and `task_inactive` as
    errors of items: `idempotency_key_reused`, `storage_full`, `overloaded`, `draining`.
    """
    asked = call.asked(wire.StartBatch)
    with GATE.permit(call, *{effect: None for spec in asked.runs for effect in effects_of(spec)}):
        outcomes = await call.services.runs.start_batch(asked, call.request_key())
    replayed = any(isinstance(outcome, StartResult) and outcome.replayed for outcome in outcomes)
    items = [_item(outcome, index) for index, outcome in enumerate(outcomes)]
    return json(wire.BatchOut(data=items), 200, *((REPLAYED,) if replayed else ()))


def _item(outcome: StartResult | HeadwayError, index: int) -> wire.BatchItem:
    if isinstance(outcome, StartResult):
        return wire.BatchItem(status=202 if outcome.created else 200, run=present.run_out(outcome.run))
    return wire.BatchItem(status=outcome.status, error=problem.document(outcome, f"/v1/runs:batch#/runs/{index}"))


# -- looking -----------------------------------------------------------------------------------------------------------


async def get(call: Call) -> Reply:
    """GET /v1/runs/{id}: a run, with `expand=children` also the first 100 runs that it started.

    Answers 304 if the run has a version of `If-None-Match`. With `Prefer: wait=N` the answer waits for a change, which is
    another version than that of `If-None-Match`, or with `wait_for=final` for the end.

    Errors: `run_not_found`, `run_purged`.
    """
    run = await call.services.runs.get(call.run_id())
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
        children, _ = await call.services.runs.page(
            RunFilter(parent_id=run.id), Page(CHILDREN_MAX, None, newest_first=False)
        )
        body = body[:-1] + b',"children":' + encode([present.run_out(child) for child in children]) + b"}"
    return Reply(200, body, (etag(run.version), *applied))


def _matches(known: bytes, version: int) -> bool:
    return known.strip() == b"*" or any(version_of(tag) == version for tag in known.decode("latin-1").split(","))


async def output(call: Call) -> Reply:
    """GET /v1/runs/{id}/output: output or error of a finished run; `Prefer: wait=N` waits for its end.

    Errors: `run_not_found`, `run_purged`, `not_finished`.
    """
    run = await call.services.runs.get(call.run_id())
    wait_ms = call.preferred_wait_ms()
    if wait_ms is not None:
        run = await _wait(call, run, wait_ms, final=True)
    if run.state not in FINAL:
        raise NotFinished(f"the run is {run.state}", state=str(run.state))
    applied = () if wait_ms is None else (wait_applied(wait_ms),)
    return json(present.output_out(run), 200, etag(run.version), *applied)


async def list_runs(call: Call) -> Reply:
    """GET /v1/runs: a page of runs, newest first by default, 50 by default and 1,000 at most.

    The `Link` header (RFC 8288) leads to the next page. A page may be short, even empty: an empty `next_page_token` alone is
    the end.

    Errors: `bad_cursor`, `query_too_costly`.
    """
    asked = call.parameters(wire.RunQuery)
    page = await _page(call, asked, in_query(asked))
    if not page.next_page_token:
        return json(page)
    return json(page, 200, next_link(call.path, call.raw_query, page.next_page_token))


async def query(call: Call) -> Reply:
    """POST /v1/runs:query: a page of runs, with the filters of the list in the body.

    Errors: `bad_cursor`, `query_too_costly`.
    """
    asked = call.asked(wire.RunQuery)
    return json(await _page(call, asked, to_filter(asked)))


async def _page(call: Call, asked: wire.RunQuery, wanted: RunFilter) -> wire.RunList:
    service = call.services
    found, after = await service.runs.page(wanted, page_of(asked, wanted, service.cursors))
    token = next_token(asked, service.cursors, after) if after else ""
    return wire.RunList(data=[present.run_out(run) for run in found], next_page_token=token, has_more=bool(after))


async def children(call: Call) -> Reply:
    """GET /v1/runs/{id}/children: a page of the runs that a run started, oldest first.

    Errors: `run_not_found`, `run_purged`, `bad_cursor`.
    """
    asked = call.parameters(Children)
    run = await call.services.runs.get(call.run_id())
    whole = wire.RunQuery(
        parent_id=run.id, order_by="created_at asc", page_size=asked.page_size, page_token=asked.page_token
    )
    page = await _page(call, whole, to_filter(whole))
    if not page.next_page_token:
        return json(page)
    return json(page, 200, next_link(call.path, call.raw_query, page.next_page_token))


async def count(call: Call) -> Reply:
    """GET /v1/runs:count: numbers of runs by state, or by the member in `group_by`, with the filters of the list.

    Errors: `query_too_costly`.
    """
    asked = call.parameters(CountRuns)
    counts = await call.services.runs.count(in_query(asked), asked.group_by)
    return json(wire.CountOut(counts=counts, total=sum(counts.values())))


async def logs(call: Call) -> Reply:
    """GET /v1/runs/{id}/logs: a page of log lines after the number `after`, oldest first.

    Errors: `run_not_found`, `run_purged`.
    """
    asked = call.parameters(ListAfter)
    found, more = await call.services.history.page(call.run_id(), asked.after, asked.page_size, "run.log")
    lines = [present.log_out(event) for event in found]
    return json(wire.LogList(data=lines, next_after=lines[-1].seq if lines else asked.after, has_more=more))


async def results(call: Call) -> Reply:
    """GET /v1/runs/{id}/results: a page of published results after the number `after`, oldest first.

    Errors: `run_not_found`, `run_purged`.
    """
    asked = call.parameters(ListAfter)
    found, more = await call.services.history.results(call.run_id(), asked.after, asked.page_size)
    shown = [present.result_out(result) for result in found]
    return json(wire.ResultList(data=shown, next_after=shown[-1].number if shown else asked.after, has_more=more))


async def attempts(call: Call) -> Reply:
    """GET /v1/runs/{id}/attempts: all attempts of a run, oldest first.

    Errors: `run_not_found`, `run_purged`.
    """
    found = await call.services.history.attempts(call.run_id())
    return json(wire.AttemptList(data=[present.attempt_out(attempt) for attempt in found]))


async def waiting(call: Call) -> Reply:
    """GET /v1/runs/{id}/waiting: the causes for which a run waits, or facts about how it runs or ended.

    The worker's name is null for a key without `worker:read`.

    Errors: `run_not_found`, `run_purged`.
    """
    named = call.may("see a worker")
    return json(present.waiting_out(*await call.services.history.waiting(call.run_id(), named=named)))


# -- changing ----------------------------------------------------------------------------------------------------------


def _shown(run: Run, key: RequestKey | None = None) -> Reply:
    headers = (etag(run.version), REPLAYED) if key is not None and key.replayed else (etag(run.version),)
    return Reply(200, present.run_json(run), headers)


async def patch(call: Call) -> Reply:
    """PATCH /v1/runs/{id}: change a run; `If-Match` names the version that it must have.

    Priority, queue and time can change while the run waits, the other members at any time.

    Errors: `run_not_found`, `run_purged`, `invalid_state`, `version_mismatch`, `idempotency_key_reused`.
    """
    key = call.request_key()
    return _shown(
        await call.services.runs.patch(call.run_id(), call.asked(wire.PatchRun), call.expected_version(), key), key
    )


async def delete(call: Call) -> Reply:
    """DELETE /v1/runs/{id}: remove a finished run; 204. Later requests for it are answered with `run_purged`.

    Errors: `run_not_found`, `run_purged`, `invalid_state`, `protected`, `version_mismatch`.
    """
    run_id, version = call.run_id(), call.expected_version()
    await call.services.runs.delete(run_id, version)
    return NO_CONTENT


async def terminate(call: Call) -> Reply:
    """POST /v1/runs/{id}:terminate: stop a run and, by default, the runs that it started.

    A running attempt has the task's `grace`, or that of the body, to end by itself; the run is `stopping` until then. A
    repetition changes nothing.

    Errors: `run_not_found`, `run_purged`, `invalid_state`.
    """
    key = call.request_key()
    asked = call.asked(wire.Terminate)
    asked = msgspec.structs.replace(asked, actor=call.actor(asked.actor))
    return _shown(await call.services.runs.terminate(call.run_id(), asked, key), key)


async def suspend(call: Call) -> Reply:
    """POST /v1/runs/{id}:suspend: hold a run until it is resumed. A running attempt is cancelled, and not counted.

    Errors: `run_not_found`, `run_purged`, `invalid_state`.
    """
    key = call.request_key()
    return _shown(await call.services.runs.suspend(call.run_id(), _reason(call, "suspended"), key), key)


async def resume(call: Call) -> Reply:
    """POST /v1/runs/{id}:resume: queue a suspended run again.

    Errors: `run_not_found`, `run_purged`, `invalid_state`.
    """
    key = call.request_key()
    return _shown(await call.services.runs.resume(call.run_id(), _reason(call, "resumed"), key), key)


async def signal(call: Call) -> Reply:
    """POST /v1/runs/{id}:signal: send a named message to a run, which continues if it waits for that name.

    Errors: `run_not_found`, `run_purged`, `invalid_state`.
    """
    key = call.request_key()
    return _shown(await call.services.runs.signal(call.run_id(), call.asked(wire.SignalRun), key), key)


async def retry(call: Call) -> Reply:
    """POST /v1/runs/{id}:retry: start a new run with the input of a failed or terminated one; 202.

    The new run names the old one in `previous_id`, and continues after the steps that succeeded, unless `from_scratch`.

    Errors: `run_not_found`, `run_purged`, `invalid_state`, `unknown_task`, `task_inactive`, `damaged`, `storage_full`.
    """
    await _check_repeat(call)
    key = call.request_key()
    asked = call.asked(wire.RetryRun)
    reason = Reason(code="retried", message=asked.reason, actor=call.actor(asked.actor))
    run = await call.services.runs.retry(call.run_id(), reason, key, from_scratch=asked.from_scratch)
    replayed = key is not None and key.replayed
    return accepted(StartResult(run, created=not replayed, replayed=replayed))


async def _check_repeat(call: Call) -> None:
    """Raise Forbidden for a run of a built-in task whose effects the caller could not have by a start of its own."""
    if not all(map(call.may, OF_BUILT_IN.values())):
        call.check(*of_task((await call.services.runs.get(call.run_id())).task))


async def protect(call: Call) -> Reply:
    """POST /v1/runs/{id}:protect: keep a run from being removed, by requests and by retention.

    Errors: `run_not_found`, `run_purged`.
    """
    key, reason = call.request_key(), _reason(call, "protected")
    return _shown(await call.services.runs.protect(call.run_id(), protected=True, reason=reason, request=key), key)


async def unprotect(call: Call) -> Reply:
    """POST /v1/runs/{id}:unprotect: let a run be removed again.

    Errors: `run_not_found`, `run_purged`.
    """
    key, reason = call.request_key(), _reason(call, "unprotected")
    return _shown(await call.services.runs.protect(call.run_id(), protected=False, reason=reason, request=key), key)


async def complete(call: Call) -> Reply:
    """POST /v1/tokens/{token}:complete: complete the wait of a suspended run, with a value for it. The token is the credential.

    Errors: `not_found` (the token), `already_completed`, `run_not_found`, `run_purged`, `invalid_state`,
    `idempotency_key_reused`.
    """
    token, value = call.arguments["token"], call.asked(wire.CompleteToken).value
    run = await call.services.runs.complete_token(token, value, call.request_key())
    return json(TokenCompletion(run_id=run.id, state=run.state))


def _reason(call: Call, code: str) -> Reason:
    because = call.asked(wire.Because)
    return Reason(code=code, message=because.reason, actor=call.actor(because.actor))


def _refuse_paging(asked: wire.RunQuery) -> None:
    """Raise InvalidInput for parameters of pages and order: a bulk action has neither."""
    for name, plain in (("page_size", 50), ("page_token", ""), ("order_by", None)):
        if getattr(asked, name) != plain:
            raise invalid(f"/filter/{name}", "a bulk action applies to all matching runs: leave paging out")


async def bulk(call: Call) -> Reply:
    """POST /v1/runs:bulk: apply an action to all runs of a filter, by a run of the task `headway.bulk`; 202 with that run.

    With `dry_run` the answer is 200 with the number of runs.

    Errors: `unknown_task`, `task_inactive`, `duplicate_run`, `idempotency_key_reused`, `storage_full`, `overloaded`,
    `draining`.
    """
    action = call.asked(wire.BulkAction)
    wanted = to_filter(action.filter)
    _refuse_paging(action.filter)
    if action.from_scratch and action.action != "retry":
        raise invalid("/from_scratch", "from_scratch is for the action retry only")
    if action.dry_run:
        call.check("count runs")
        counts = await call.services.runs.count(wanted, None)
        return json(wire.BulkPreview(count=sum(counts.values()), action=action.action))
    call.refuse_if_draining()
    spec = wire.StartRun(task="headway.bulk", input=msgspec.Raw(encode(action)), name=f"bulk {action.action}")
    return accepted(await call.services.runs.start(spec, call.request_key()))
