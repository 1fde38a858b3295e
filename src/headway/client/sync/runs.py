# Generated from client/aio/runs.py by tools/unasync.py: change that, not this.
"""Runs: start, find, count, and change many at once (`client.runs`)."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from headway.client import encoding
from headway.client.problem import to_error
from headway.client.sync import pages
from headway.client.sync.caller import Caller, decode
from headway.client.sync.handle import RunHandle
from headway.errors import HeadwayError, RunNotFound
from headway.ids import canonical_id
from headway.protocol.runs import (
    BatchItem,
    BatchOut,
    BulkPreview,
    CountOut,
    Dedupe,
    RunList,
    RunOut,
    RunQuery,
    StartRun,
)

BATCH_MAX = 1000


class Runs:
    """Runs of the caller's organisation."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def start(
        self,
        task: encoding.Task,
        /,
        input: Mapping[str, Any] | None = None,  # noqa: A002 (the word of the API)
        *,
        name: str | None = None,
        priority: int | None = None,
        queue: str | None = None,
        key: str | None = None,
        run_at: encoding.Moment | None = None,
        delay: encoding.Span | None = None,
        labels: Mapping[str, str] | None = None,
        dedupe: Dedupe | Mapping[str, Any] | str | None = None,
        protect: bool = False,
        parent_id: str | None = None,
        max_attempts: int | None = None,
        retention: encoding.Span | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> RunHandle:
        """Start a run and return its handle as soon as it is stored durably.

            run = client.runs.start("backup", folder="/srv", priority=7)

        `task` is a name or a function under `@app.task`. Its input is `input` with `fields` merged in; a field with
        the name of an option below goes into `input`.

        - `name`: a label for people, up to 1,000 characters; default: the task's name.
        - `priority`: 0 to 10, higher first; default: the task's, else 5.
        - `queue`: default: the task's.
        - `key`: runs of a task with the same key share its limit per key.
        - `run_at` or `delay`: the earliest start, as a time or as a duration from now; default: now.
        - `labels`: up to 32, each a name of up to 63 and a value of up to 255 characters.
        - `dedupe`: a key, or a `Dedupe`: at most one run per task and key.
        - `protect`: whether the run is kept until it is unprotected.
        - `parent_id`: the run that starts this one.
        - `max_attempts`: 1 to 1,000; default: the task's.
        - `retention`: how long the run is kept after its end; default: the task's.
        - `validate_only`: check the request and start nothing; the handle shows the run that it would make (AIP-163).
        - `idempotency_key`: two starts with the same key make one run; default: a new key for each call.

        Numbers as durations are seconds; a datetime without a zone is local time.

        Raises TypeError for input that cannot be written as JSON, `invalid_input` for input that does not match the
        task's schema, `input_too_costly` if checking it exceeds a limit, `unknown_task`, `task_inactive`,
        `duplicate_run` with `dedupe.on_conflict="reject"`, `idempotency_key_reused`, `invalid_state` if the parent is
        being stopped, and `storage_full`, `overloaded` or `draining`, after which the same start may be tried again.
        """
        body = encoding.start_body(
            task,
            input,
            name=name,
            priority=priority,
            queue=queue,
            key=key,
            run_at=run_at,
            delay=delay,
            labels=labels,
            dedupe=dedupe,
            protect=protect,
            parent_id=parent_id,
            max_attempts=max_attempts,
            retention=retention,
            validate_only=validate_only,
            **fields,
        )
        run = self._caller.post("/v1/runs", body, RunOut, idempotency_key=idempotency_key)
        return RunHandle(self._caller, run)

    def start_many(
        self, items: Iterable[Mapping[str, Any] | StartRun], *, atomic: bool = False
    ) -> builtins.list[RunHandle | HeadwayError]:
        """Start many runs and return, in the order of `items`, the handle or the error of each.

        Each item is a StartRun, or a dict with `task` and the options of `start`. Requests carry up to 1,000 runs,
        each request in one transaction. With `atomic`, all runs are started or none.

        Raises ValueError for more than 1,000 items with `atomic`, and the errors of `start`, either raised for the
        whole request or returned for one item: `unknown_task`, `task_inactive`, `duplicate_run`, `input_too_costly`,
        `invalid_state`, `storage_full`, `overloaded` or `draining`.
        """
        rest = iter(items)
        found: builtins.list[RunHandle | HeadwayError] = []
        while chunk := [encoding.batch_item(item) for item in islice(rest, BATCH_MAX)]:
            if atomic and next(rest, None) is not None:
                raise ValueError(f"all or nothing holds for up to {BATCH_MAX} runs")
            answer = self._caller.post("/v1/runs:batch", {"runs": chunk, "atomic": atomic}, BatchOut)
            found += [self._outcome(item) for item in answer.data]
        return found

    def _outcome(self, item: BatchItem) -> RunHandle | HeadwayError:
        if item.run is not None:
            return RunHandle(self._caller, item.run)
        return to_error(item.status, {}, encoding.to_json(item.error or {}))

    def get(self, run_id: str, wait: float | None = None) -> RunHandle:
        """Return the handle of a run; with `wait`, once the run is finished or that many seconds have passed.

        Raises `run_not_found` or `run_purged`.
        """
        dashed = canonical_id(run_id)
        if dashed is None:
            raise RunNotFound(f"{run_id[:80]!r} is not the id of a run", run_id=run_id[:80])
        headers = {} if wait is None else {"Prefer": f"wait={max(0, round(wait))}"}
        path = encoding.path("runs", dashed, wait_for=None if wait is None else "final")
        answer = self._caller.send("GET", path, headers=headers, timeout_s=None if wait is None else wait + 10)
        return RunHandle(self._caller, decode(answer, RunOut))

    def list(self, **filters: Any) -> RunPages:
        """Return the matching runs, newest first, as an iterator that fetches page after page.

            for run in client.runs.list(state="failed", task=["backup", "sync"], labels={"customer": "7"}):
                run.retry()

        Filters are the fields of RunQuery; a single state, task or queue may be given without a list.
        `list(…).page()` returns one page.

        Raises, when a page is fetched: `invalid_input` for an unknown filter, `bad_cursor` or `query_too_costly`.
        """
        return RunPages(self._caller, filters)

    def count(self, group_by: str = "state", **filters: Any) -> CountOut:
        """Return the number of matching runs, in total and by "state", "task" or "queue".

        Filters are those of `list`. Raises `query_too_costly`.
        """
        return self._caller.get(f"/v1/runs:count?{encoding.query(group_by=group_by, **filters)}", CountOut)

    def bulk(
        self,
        filter: RunQuery | Mapping[str, Any],  # noqa: A002
        action: str,
        *,
        dry_run: bool = False,
        reason: str = "",
        from_scratch: bool = False,
    ) -> BulkPreview | RunHandle:
        """Apply an action to all matching runs: return the run that does so, or with `dry_run` the number of runs.

        `action` is "terminate", "retry", "suspend", "resume", "protect", "unprotect" or "delete". `from_scratch`
        makes "retry" start from the beginning instead of after the steps that succeeded. Raises `unknown_task`,
        `task_inactive`, `duplicate_run`, `storage_full`, `overloaded` or `draining`.
        """
        body = {"filter": encoding.query_body(filter), "action": action, "dry_run": dry_run, "reason": reason}
        if from_scratch:
            body["from_scratch"] = True
        answer = self._caller.post_raw("/v1/runs:bulk", body)
        return decode(answer, BulkPreview) if dry_run else RunHandle(self._caller, decode(answer, RunOut))


class RunPages:
    """Lazy list of runs: nothing is requested before the first iteration or `page()`."""

    def __init__(self, caller: Caller, filters: Mapping[str, Any]) -> None:
        self._caller, self._filters = caller, filters

    def page(self, page_token: str = "", page_size: int | None = None) -> RunList:
        """Return one page of up to `page_size` runs (default 50).

        Its `next_page_token` is the `page_token` of the next page; an empty one marks the end. Raises `bad_cursor` or
        `query_too_costly`.
        """
        query = {**self._filters, "page_token": page_token or None}
        if page_size is not None:
            query["page_size"] = page_size
        return self._caller.get(f"/v1/runs?{encoding.query(**query)}", RunList)

    def runs(self) -> Iterator[RunOut]:
        """Iterate over the runs as RunOut instead of handles."""
        filters = {name: value for name, value in self._filters.items() if name != "page_size"}
        yield from pages.runs(self._caller, encoding.path("runs", **filters))

    def __iter__(self) -> Iterator[RunHandle]:
        return self._each()

    def _each(self) -> Iterator[RunHandle]:
        for run in self.runs():
            yield RunHandle(self._caller, run)
