"""Routes of the surface: commands, and polls under the URLs of all generations of CloudCoin's documentation."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from headway.compat.cloudcoin import dialect, words
from headway.compat.cloudcoin.commands import Commands
from headway.compat.cloudcoin.dialect import CloudcoinDialect
from headway.compat.cloudcoin.settings import CloudcoinSettings
from headway.compat.cloudcoin.words import Generation
from headway.errors import BadParameter, RouteNotFound, RunNotFound
from headway.ids import canonical_id
from headway.kernel.run import Run
from headway.protocol.runs import StartRun
from headway.web.call import Call, StartGate
from headway.web.frames import RunBodies
from headway.web.reply import Reply
from headway.web.route import Route, Scope, route
from headway.web.runs import REPLAYED

RUN_TYPE: Final = "cloudcoin"
"""Type of runs started on this surface; requests without a key see no others."""


class TaskQuery(msgspec.Struct):
    """The task's id, in one of the two parameters."""

    task_id: str = ""
    id: str = ""


class CommandHandlers:
    """Handlers of commands, with the table of commands."""

    def __init__(self, commands: Commands, gate: StartGate) -> None:
        self._commands = commands
        self._gate = gate

    async def command(self, call: Call) -> Reply:
        """POST, PUT or GET /api/v1/{name}: start the task of a command, with the body as its input.

        Errors: `unknown_task`, `task_inactive`, `malformed_json`, `invalid_input`, `payload_too_large`, `draining`.
        """
        command = call.name()
        task = self._commands.task(call.method, command)
        if task is None:
            raise RouteNotFound(f"{call.method} {command[:80]} is not a command")
        started = await self._gate.start(call, StartRun(task=task, input=msgspec.Raw(call.raw_body.strip() or b"{}")))
        url = f"{_base_url(call)}/api/system/tasks?id={started.run.id}"
        return Reply(
            200,
            words.start_answer(started.run, command, url, whole=call.may("see a run")),
            (REPLAYED,) if started.replayed else (),
        )


class PollHandlers:
    """Handlers of the polls of one generation, with a cache of answers."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._bodies = RunBodies()

    async def by_path(self, call: Call) -> Reply:
        """GET /api/v1/tasks/{id}: the state of the task in the path.

        Errors: `run_not_found`, `run_purged`.
        """
        return await self._poll(call, call.arguments["id"])

    async def by_query(self, call: Call) -> Reply:
        """GET /api/task: the state of the task in the query, as `?task_id=` or `?id=`.

        Errors: `run_not_found`, `run_purged`.
        """
        task_id = _task_id(call.raw_query)
        call.arguments = {"id": task_id}
        return await self._poll(call, task_id)

    async def _poll(self, call: Call, text: str) -> Reply:
        run_id = canonical_id(text)
        if run_id is None:
            raise RunNotFound(f"{text[:80]!r} is not the id of a task")
        run = await call.services.runs.get(run_id)
        if call.principal is dialect.KEYLESS and run.run_type != RUN_TYPE:
            raise RunNotFound(f"there is no run {run_id}")
        return Reply(200, self._bodies.get(run) or self._bodies.put(run, await self._words(call, run)))

    async def _words(self, call: Call, run: Run) -> bytes:
        partial = None
        if self._generation != "current" and run.started_at is not None and not run.final:
            partial = await call.services.history.newest_result(run.id)
        return words.poll_answer(run, self._generation, partial.value if partial is not None else None)


def _task_id(query: bytes) -> str:
    try:
        given = parse_qs(query.decode("ascii"), errors="strict", max_num_fields=dialect.PARAMETERS_MAX)
    except ValueError:
        given = {}
    found = [text for name in ("task_id", "id") for text in given.get(name, ())]
    if len(found) != 1:
        raise BadParameter("name the task with ?task_id=… or ?id=…, once", parameter=dialect.TASK_ID)
    return found[0]


def _base_url(call: Call) -> str:
    """Return the server's URL, with the host of the request."""
    return f"http://{call.header(b'host')}"


def routes(settings: CloudcoinSettings, gate: StartGate) -> tuple[Route, ...]:
    """Return the routes of the surface; raise ValueError for a malformed alias."""
    commands = CommandHandlers(Commands(settings.aliases), gate)
    current_dialect, flat_dialect, newer_dialect = (
        CloudcoinDialect(generation, settings) for generation in ("current", "flat", "newer")
    )
    current, flat, newer = PollHandlers("current"), PollHandlers("flat"), PollHandlers("newer")

    def surface_route(method: str, path: str, handler: Any, scope: Scope, summary: str, **more: Any) -> Route:
        return route(method, path, handler, scope, summary, unparsed=True, **{"dialect": current_dialect, **more})

    run = ("run_not_found", "run_purged")
    start = ("unknown_task", "task_inactive", "malformed_json", "invalid_input", "payload_too_large", "draining")
    polled = {"gives": words.TaskReply, "problems": run}
    return (
        surface_route("POST", "/api/v1/{name}", commands.command, "run:start", "Start the task that a command names.",
             gives=words.StartedReply, problems=start, headers=("Idempotency-Key",)),
        surface_route("PUT", "/api/v1/{name}", commands.command, "run:start", "The same, for commands by PUT, such as /fix.",
             operation="put_command", gives=words.StartedReply, problems=start, headers=("Idempotency-Key",)),
        surface_route("GET", "/api/v1/{name}", commands.command, "run:start", "The same, for commands by GET, which the settings name.",
             operation="get_command", gives=words.StartedReply, problems=start),
        surface_route("GET", "/api/v1/tasks/{id}", current.by_path, "run:read", "Poll a task (generations A and B).", **polled),
        surface_route("GET", "/api/v1/task/{id}", current.by_path, "run:read", "The same, by the path of older documents.",
             operation="by_older_path", **polled),
        surface_route("GET", "/api/v1/get-task-status/{id}", current.by_path, "run:read", "The same, by its alias.",
             operation="by_alias", **polled),
        surface_route("GET", "/get-task-status/{id}", current.by_path, "run:read", "The same, by its alias.",
             operation="by_root_alias", **polled),
        surface_route("GET", "/api/transactions/task", flat.by_query, "run:read", "Poll a task (generation C).",
             operation="by_query_of_transactions", query=TaskQuery, gives=words.FlatTask, problems=run, dialect=flat_dialect),
        surface_route("GET", "/api/task", flat.by_query, "run:read", "The same, by its short path.",
             operation="by_short_query", query=TaskQuery, gives=words.FlatTask, problems=run, dialect=flat_dialect),
        surface_route("GET", "/api/system/tasks", newer.by_query, "run:read", "Poll a task (generation D).",
             operation="by_query_of_system", query=TaskQuery, gives=words.NewerReply, problems=run, dialect=newer_dialect),
    )  # fmt: skip
