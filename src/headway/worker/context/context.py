"""The async context, written by hand; that of plain functions is generated from it by tools/unasync.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from headway.client.encoding import Task
from headway.kernel.run import TOKEN_WAIT
from headway.protocol.workers import BlockerSpec
from headway.worker.context.child_runs import StartOptions
from headway.worker.context.outcome import is_final
from headway.worker.context.payload import to_json
from headway.worker.context.plans import AsyncPlanRunner, step_policy
from headway.worker.declaration.options import Duration, Retry


class Context(AsyncPlanRunner):
    """The context of a run, for an async function: `async def backup(ctx: headway.Context, folder: str)`.

    Durations are texts such as "1h30m", seconds as numbers, or timedeltas. Names of steps, signals and tokens have 1 to 190
    characters and no control characters. Every method raises `Cancelled` once the run is to stop or its lease is lost.
    """

    __slots__ = ()

    async def step(
        self, name: str, function: Callable[..., Any], /, *args: Any, retry: Retry | None = None, **kwargs: Any
    ) -> Any:
        """Call `function` once for this run, record its result, and return it as JSON has it.

        Later attempts return the recorded value without a call. A crash after the call and before the record repeats the
        call; `ctx.idempotency_key` inside the step is the same both times. The call happens in place: on the event loop of
        an async task, in the thread of a plain one.

        `retry`: tries of the step without another attempt of the run, counted over all attempts; without it an exception
        ends the attempt. Tries after 2 s or more wait without a worker.

        Raises ValueError for an invalid or reserved name and for a result that is not JSON; StepFailed (`step_failed`), in
        every attempt, after the last try; InvalidInput (`invalid_input`) or PayloadTooLarge (`payload_too_large`) for a
        result that the server refuses.
        """
        self._check()
        journal, policy = self._journal, step_policy(retry)
        full = journal.next_step(name)
        if journal.has(full):
            return journal.value(full)
        failed: Exception | None = None
        while True:
            if policy is not None:
                await self._drive(self._turn(full, failed))
            try:
                with journal.scope(full, retried=policy is not None):
                    value = function(*args, **kwargs)
                    # async-only
                    if inspect.isawaitable(value):
                        value = await value
                    # end of async-only
                break
            except Exception as error:
                if policy is None or is_final(error):
                    raise
                failed = error
            await self._drive(self._failed(full, policy, failed))
        text = to_json(value)
        await self._ask(self._report_step(full, text))
        return journal.record(full, text)

    async def sleep(self, duration: Duration) -> None:
        """Sleep for a duration.

        Sleeps of less than 2 s wait in place. Longer ones end the attempt, are kept by the server over restarts, and the
        function is called again from its beginning; this sleep then returns at once. Raises ValueError for no duration.
        """
        await self._drive(self._sleep(duration))

    async def suspend(
        self,
        *blockers: str | BlockerSpec,
        timeout: Duration | None = None,  # noqa: ASYNC109 (durable, kept by the server)
    ) -> dict[str, Any]:
        """Suspend the run until all blockers have come, a person resumes it, or the timeout is over.

        A blocker is a signal's name, or a BlockerSpec. The attempt ends, and the function is called again afterwards; this
        call then returns the payloads by signal's name, and those of ended runs by run id, without any that did not come.
        Default timeout: none. Raises ValueError without blocker and timeout, and for an invalid name.
        """
        return self._suspend(blockers, timeout)

    async def wait_for_signal(self, name: str, *, timeout: Duration | None = None) -> Any:  # noqa: ASYNC109
        """Wait without a worker for the next signal of that name, and return its payload, a JSON value.

        The second call waits for the second signal. Signals that came earlier count. Default timeout: none. Raises
        TimeoutError, in every attempt, if no signal came in time; ValueError for an invalid name.
        """
        return await self._drive(self._wait_for_signal(name, timeout))

    async def token(self, name: str) -> str:
        """Return the token with which an outside system completes `wait_for_token(name)`: the same text in every attempt.

        It is signed by the server and needs no key: POST /v1/tokens/{token}:complete. Raises ValueError for an invalid name.
        """
        return await self._drive(self._token(name))

    async def wait_for_token(self, name: str, *, timeout: Duration | None = None) -> Any:  # noqa: ASYNC109
        """Wait without a worker until the token of that name is completed, and return its value, a JSON value.

        Default timeout: none. Raises TimeoutError if it was not completed in time, ValueError for an invalid name.
        """
        return await self._drive(self._wait_for_signal(f"{TOKEN_WAIT}{name}", timeout))

    async def start(
        self, task: Task, step: str | None = None, options: StartOptions | None = None, /, **given: Any
    ) -> ChildRun:
        """Start a child run once, and return its handle; `given` is its input.

        Later attempts return the handle of the same child. `step` names it in the run's record; default: the task's name.
        Raises ValueError for an invalid name or option and for an input that is not JSON; the server refuses with
        InvalidInput (`invalid_input`, `unknown_task`), Forbidden (`forbidden`) or DuplicateRun (`duplicate_run`).
        """
        return ChildRun(self, await self._drive(self._start(task, step, options, given)))

    async def results(self, *children: ChildRun) -> list[Any]:
        """Wait without a worker until all children have ended, and return their outputs, JSON values, in their order.

        Raises ChildFailed (`child_failed`) for the first of them that did not succeed. A run that is no child of this run
        fails it.
        """
        return self._results([child.id for child in children])


class ChildRun:
    """A handle of a child run, made by `ctx.start`; `id` is its run id."""

    __slots__ = ("_context", "id")

    def __init__(self, context: Context, run_id: str) -> None:
        """Keep the context, which waits for the child."""
        self._context = context
        self.id = run_id

    async def result(self) -> Any:
        """Wait without a worker until the child has ended, and return its output, a JSON value.

        Raises ChildFailed (`child_failed`) if it did not succeed.
        """
        (output,) = await self._context.results(self)
        return output
