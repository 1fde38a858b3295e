# Generated from client/aio/runs.py by tools/unasync.py: change that, not this.
"""client.runs: start them, find them, change many at once."""

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
from headway.ids import canonical
from headway.wire.runs import BatchItem, BatchOut, BulkPreview, CountOut, Dedupe, RunList, RunOut, RunQuery, StartRun

BATCH_MAX = 1000


class Runs:
    """All runs of a server."""

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
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
        """Start a run and return its handle as soon as it is stored for good.

            run = client.runs.start("backup", folder="/srv", priority=7)

        `fields` are the task's input; those whose names are taken by the options above go into `input`.
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
        """Start many runs; each item is a StartRun or a dict with the words of `start`, `task` among them.

        Returns a handle for each that was started and the error for each that was not, in order. With `atomic` all are
        started or none, which holds for up to 1,000.
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
        """Return the handle of a run; with `wait`, once it is finished or so many seconds have passed."""
        dashed = canonical(run_id)
        if dashed is None:
            raise RunNotFound(f"{run_id[:80]!r} is not the id of a run", run_id=run_id[:80])
        headers = {} if wait is None else {"Prefer": f"wait={max(0, round(wait))}"}
        path = encoding.path("runs", dashed, wait_for=None if wait is None else "final")
        answer = self._caller.send("GET", path, headers=headers, timeout_s=None if wait is None else wait + 10)
        return RunHandle(self._caller, decode(answer, RunOut))

    def list(self, **filters: Any) -> RunPages:
        """Return the runs that fit, newest first, as an iterator that asks for the next page when it gets there.

            for run in client.runs.list(state="failed", task=["backup", "sync"], labels={"customer": "7"}):
                run.retry()

        Ask it for a `page()` to get one page only.
        """
        return RunPages(self._caller, filters)

    def count(self, group_by: str = "state", **filters: Any) -> CountOut:
        """Return how many there are, by state, task or queue."""
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
        """Do something to all runs that fit: with `dry_run` return how many these are, else the run that does it.

        `from_scratch` is of the action "retry": start the runs anew, not from the steps that succeeded.
        """
        body = {"filter": encoding.query_body(filter), "action": action, "dry_run": dry_run, "reason": reason}
        if from_scratch:
            body["from_scratch"] = True
        answer = self._caller.post_raw("/v1/runs:bulk", body)
        return decode(answer, BulkPreview) if dry_run else RunHandle(self._caller, decode(answer, RunOut))


class RunPages:
    """A list of runs that has not been asked for yet."""

    def __init__(self, caller: Caller, filters: Mapping[str, Any]) -> None:
        """Made by `client.runs.list`."""
        self._caller, self._filters = caller, filters

    def page(self, page_token: str = "", page_size: int | None = None) -> RunList:
        """Return one page; its `next_page_token` asks for the next, an empty one means the end."""
        query = {**self._filters, "page_token": page_token or None}
        if page_size is not None:
            query["page_size"] = page_size
        return self._caller.get(f"/v1/runs?{encoding.query(**query)}", RunList)

    def runs(self) -> Iterator[RunOut]:
        """Iterate over the runs themselves."""
        filters = {name: value for name, value in self._filters.items() if name != "page_size"}
        yield from pages.runs(self._caller, encoding.path("runs", **filters))

    def __iter__(self) -> Iterator[RunHandle]:
        return self._each()

    def _each(self) -> Iterator[RunHandle]:
        for run in self.runs():
            yield RunHandle(self._caller, run)
