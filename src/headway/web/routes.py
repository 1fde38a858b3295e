"""Routes of the native API with their structs, scopes and errors.

Dispatch, authorization, the OpenAPI document, the pages and the metrics are derived from this list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from headway.protocol import runs as wire
from headway.protocol import workers as worker_wire
from headway.web import answers, events, ops, queries, queues, runs, servers, tasks, workers
from headway.web.route import Route, route
from headway.web.surface import BEARER, NATIVE, Surface

_STATE: Final = ("invalid_state",)
_RUN: Final = ("run_not_found", "run_purged")
_KEYED: Final = ("Idempotency-Key",)
_START: Final = (
    "unknown_task", "task_inactive", "duplicate_run", "idempotency_key_reused", "storage_full", "overloaded",
    "draining",
)  # fmt: skip

ROUTES: Final[tuple[Route, ...]] = (
    # -- runs ----------------------------------------------------------------------------------------------------------
    route("POST", "/v1/runs", runs.start, "run:start", "Start a run.",
          takes=wire.StartRun, gives=wire.RunOut, status=202, also=(200,), problems=(*_START, "input_too_costly", "invalid_state"),
          headers=("Idempotency-Key", "Prefer")),
    route("POST", "/v1/runs:batch", runs.start_batch, "run:start", "Start up to 1,000 runs in one transaction.",
          takes=wire.StartBatch, gives=wire.BatchOut, problems=(*_START, "input_too_costly", "invalid_state"), headers=_KEYED),
    route("GET", "/v1/runs", runs.list_runs, "run:read", "List runs, newest first.", gives_way=True,
          query=wire.RunQuery, gives=wire.RunList, problems=("bad_cursor", "query_too_costly")),
    route("POST", "/v1/runs:query", runs.query, "run:read", "List runs, with the filters in the body.", gives_way=True,
          takes=wire.RunQuery, gives=wire.RunList, problems=("bad_cursor", "query_too_costly")),
    route("GET", "/v1/runs:count", runs.count, "run:read", "Count runs.",
          query=queries.CountRuns, gives=wire.CountOut, problems=("query_too_costly",)),
    route("POST", "/v1/runs:bulk", runs.bulk, "run:control", "Apply an action to all runs of a filter, or count them.",
          takes=wire.BulkAction, gives=wire.RunOut, status=202, also=(200,), gives_then=wire.BulkPreview, problems=_START,
          headers=_KEYED, logged="run.bulk"),
    route("GET", "/v1/runs/{id}", runs.get, "run:read", "Get a run, or wait for its change or end.",
          query=queries.GetRun, gives=answers.RunDetail, also=(304,), problems=_RUN, headers=("If-None-Match", "Prefer")),
    route("PATCH", "/v1/runs/{id}", runs.patch, "run:control", "Change a run.",
          takes=wire.PatchRun, gives=wire.RunOut, problems=(*_RUN, *_STATE, "version_mismatch", "idempotency_key_reused"),
          headers=("If-Match", *_KEYED)),
    route("DELETE", "/v1/runs/{id}", runs.delete, "run:control", "Remove a finished run.",
          status=204, problems=(*_RUN, *_STATE, "protected", "version_mismatch"), headers=("If-Match",), logged="run.delete"),
    route("POST", "/v1/runs/{id}:terminate", runs.terminate, "run:control", "Stop a run.",
          takes=wire.Terminate, optional=True, gives=wire.RunOut, problems=(*_RUN, *_STATE), headers=_KEYED, logged="run.terminate"),
    route("POST", "/v1/runs/{id}:suspend", runs.suspend, "run:control", "Hold a run until it is resumed.",
          takes=wire.Because, optional=True, gives=wire.RunOut, problems=(*_RUN, *_STATE), headers=_KEYED),
    route("POST", "/v1/runs/{id}:resume", runs.resume, "run:control", "Queue a suspended run again.",
          takes=wire.Because, optional=True, gives=wire.RunOut, problems=(*_RUN, *_STATE), headers=_KEYED),
    route("POST", "/v1/runs/{id}:signal", runs.signal, "run:control", "Send a signal to a run.",
          takes=wire.SignalRun, gives=wire.RunOut, problems=(*_RUN, *_STATE), headers=_KEYED),
    route("POST", "/v1/runs/{id}:retry", runs.retry, "run:control", "Start a failed or terminated run again as a new run, after the steps that succeeded.",
          takes=wire.RetryRun, optional=True, gives=wire.RunOut, status=202,
          problems=(*_RUN, *_STATE, "unknown_task", "task_inactive", "damaged", "storage_full"), headers=_KEYED),
    route("POST", "/v1/runs/{id}:protect", runs.protect, "run:control", "Keep a run from being removed.",
          takes=wire.Because, optional=True, gives=wire.RunOut, problems=_RUN, headers=_KEYED, logged="run.protect"),
    route("POST", "/v1/runs/{id}:unprotect", runs.unprotect, "run:control", "Let a run be removed again.",
          takes=wire.Because, optional=True, gives=wire.RunOut, problems=_RUN, headers=_KEYED, logged="run.unprotect"),
    route("GET", "/v1/runs/{id}/output", runs.output, "run:read", "Get the output of a run.",
          gives=wire.OutputOut, problems=(*_RUN, "not_finished"), headers=("Prefer",)),
    route("GET", "/v1/runs/{id}/results", runs.results, "run:read", "List the results that a run has published.",
          query=queries.ListAfter, gives=wire.ResultList, problems=_RUN),
    route("GET", "/v1/runs/{id}/events", events.of_run, "run:read", "List or stream the events of a run.",
          query=queries.RunEvents, gives=wire.EventList, also=(204,), problems=(*_RUN, "bad_cursor", "overloaded"),
          headers=("Last-Event-ID",), streams=True),
    route("GET", "/v1/runs/{id}/logs", runs.logs, "run:read", "List the log lines of a run.",
          query=queries.ListAfter, gives=wire.LogList, problems=_RUN),
    route("GET", "/v1/runs/{id}/attempts", runs.attempts, "run:read", "List the attempts of a run.",
          gives=wire.AttemptList, problems=_RUN),
    route("GET", "/v1/runs/{id}/children", runs.children, "run:read", "List the runs that a run has started.",
          query=queries.Children, gives=wire.RunList, problems=(*_RUN, "bad_cursor")),
    route("GET", "/v1/runs/{id}/waiting", runs.waiting, "run:read", "Get the causes of a run's state.",
          gives=wire.WaitingOut, problems=_RUN),
    route("GET", "/v1/events", events.feed, "run:read", "List or stream the events of all runs, or of some.",
          query=queries.Feed, gives=wire.EventList, problems=("bad_cursor", "overloaded"), headers=("Last-Event-ID",),
          streams=True),
    route("POST", "/v1/tokens/{token}:complete", runs.complete, "token", "Complete the wait of a suspended run.",
          takes=wire.CompleteToken, optional=True, gives=answers.TokenCompletion,
          problems=(*_RUN, *_STATE, "not_found", "already_completed", "idempotency_key_reused"), headers=_KEYED),
    # -- tasks and queues ----------------------------------------------------------------------------------------------
    route("GET", "/v1/tasks", tasks.list_tasks, "task:read", "List tasks.", gives=worker_wire.TaskList),
    route("GET", "/v1/tasks/{name}", tasks.get, "task:read", "Get a task.",
          gives=worker_wire.TaskOut, problems=("task_not_found",)),
    route("POST", "/v1/tasks/{name}:activate", tasks.activate, "task:write", "Let a task start runs.",
          takes=wire.Because, optional=True, gives=worker_wire.TaskOut, problems=("task_not_found",), logged="task.activate"),
    route("POST", "/v1/tasks/{name}:deactivate", tasks.deactivate, "task:write", "Refuse further starts of a task.",
          takes=wire.Because, optional=True, gives=worker_wire.TaskOut, problems=("task_not_found",), logged="task.deactivate"),
    route("POST", "/v1/tasks/{name}:terminate", tasks.terminate, "run:control", "Stop all runs of a task.",
          takes=worker_wire.TerminateTask, optional=True, gives=answers.TerminationCount, problems=("task_not_found",), logged="task.terminate"),
    route("GET", "/v1/queues", queues.list_queues, "queue:read", "List queues.", gives=worker_wire.QueueList),
    route("GET", "/v1/queues/{name}", queues.get, "queue:read", "Get a queue.",
          gives=worker_wire.QueueOut, problems=("queue_not_found",)),
    route("PATCH", "/v1/queues/{name}", queues.patch, "queue:write", "Limit the running attempts of a queue.",
          takes=worker_wire.PatchQueue, gives=worker_wire.QueueOut, logged="queue.limit"),
    route("POST", "/v1/queues/{name}:pause", queues.pause, "queue:write", "Pause a queue: none of its runs is claimed.",
          takes=wire.Because, optional=True, gives=worker_wire.QueueOut, problems=("queue_not_found",), logged="queue.pause"),
    route("POST", "/v1/queues/{name}:resume", queues.resume, "queue:write", "Let the runs of a queue be claimed again.",
          takes=wire.Because, optional=True, gives=worker_wire.QueueOut, problems=("queue_not_found",), logged="queue.resume"),
    # -- workers -------------------------------------------------------------------------------------------------------
    route("POST", "/v1/workers", workers.register, "worker:protocol", "Register a worker and its tasks.", own=True,
          takes=worker_wire.RegisterWorker, gives=worker_wire.WorkerOut, status=201),
    route("GET", "/v1/workers", workers.list_workers, "worker:read", "List workers.", gives=worker_wire.WorkerList),
    route("GET", "/v1/workers/{id}", workers.get, "worker:read", "Get a worker.",
          gives=worker_wire.WorkerOut, problems=("worker_not_found",)),
    route("POST", "/v1/workers/{id}:drain", workers.drain, "worker:write", "Ask a worker to finish its runs and end.",
          takes=wire.Because, optional=True, gives=worker_wire.WorkerOut, problems=("worker_not_found",), logged="worker.drain",
          or_scope="worker:protocol"),
    route("GET", "/v1/workers/{id}/signals", workers.signals, "worker:protocol", "Stream the signals to a worker.",
          problems=("worker_not_found", "overloaded"), kind="text/event-stream"),
    route("POST", "/v1/leases:claim", workers.claim, "worker:protocol", "Claim runs, waiting for the first.",
          takes=worker_wire.ClaimRuns, gives=worker_wire.Leases, problems=("worker_not_found",)),
    route("POST", "/v1/leases:report", workers.report, "worker:protocol", "Report heartbeats, progress and outcomes.",
          takes=worker_wire.ReportRuns, gives=worker_wire.ReportAnswer, problems=("worker_not_found", "lease_lost")),
    *servers.ROUTES,
    # -- the server ----------------------------------------------------------------------------------------------------
    route("GET", "/livez", ops.livez, "public", "Check whether the server is alive.", gives=worker_wire.ServerOut),
    route("GET", "/healthz", ops.healthz, "public", "The same as /livez.", gives=worker_wire.ServerOut),
    route("GET", "/readyz", ops.readyz, "public", "Check whether the server takes work.", gives=worker_wire.ServerOut, also=(503,)),
    route("GET", "/metrics", ops.metrics, "ops", "Get the metrics for Prometheus.", kind="text/plain"),
    route("GET", "/openapi.json", ops.openapi, "ops", "Get the OpenAPI 3.1 document of this API.", gives=answers.AnyObject),
    route("GET", "/openapi/{document}", ops.openapi_of, "ops", "Get the OpenAPI document of another surface, as NAME.json.",
          gives=answers.AnyObject, problems=("not_found",)),
    route("GET", "/docs", ops.docs, "ops", "Get the list of all routes, as HTML.", kind="text/html"),
    route("GET", "/errors", ops.errors, "public", "List all errors.", gives=answers.ErrorPages),
    route("GET", "/errors/{code}", ops.error, "public", "Get the meaning of an error.",
          gives=answers.ErrorPage, problems=("not_found",)),
    route("GET", "/", ops.root, "public", "Redirect to the documentation.", status=303, kind="text/plain"),
)  # fmt: skip


def native(more: Iterable[Route] = ()) -> Surface:
    """Return the surface of the native API, with `more` routes of features."""
    routes = (*ROUTES, *more)
    return Surface(
        name=NATIVE,
        routes=lambda _settings, _gate: routes,
        title="Headway",
        description=DESCRIPTION,
        schemes={"key": BEARER},
        ways=(("key",),),
    )


DESCRIPTION: Final = """\
Durable runs of tasks: start, watch, suspend, stop and remember them.

Times are RFC 3339 in UTC, durations are texts such as "30s" or "PT30S". Unknown fields of a request are refused, unknown
fields of an answer are to be ignored. Errors are problem documents (RFC 9457) with a stable `code`; `type` leads to a page
about it. Every POST may carry an Idempotency-Key, so that repeating it is safe."""
