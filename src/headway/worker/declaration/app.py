"""The app: the tasks that a worker offers, and the decorator that declares them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

import msgspec
from msgspec import Raw

from headway.codec import Unresolved
from headway.durations import parse_ms
from headway.protocol.schedules import ScheduleDeclaration
from headway.protocol.workers import EXECUTORS, Executor, TaskDeclaration
from headway.worker.declaration.function import Function
from headway.worker.declaration.options import TaskOptions, to_bytes
from headway.worker.declaration.ray_resources import checked
from headway.worker.declaration.schedule import ScheduleOptions, declare
from headway.worker.declaration.signature import Signature

if TYPE_CHECKING:
    from headway.client.aio.handle import AsyncRunHandle
    from headway.client.sync.handle import RunHandle

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound="TaskFunction")


class TaskFunction:
    """A declared task. Calling it calls the function, as if it had not been declared."""

    function: Callable[..., Any]
    signature: Signature
    declaration: TaskDeclaration
    executor: Executor
    memory_limit: int | None
    do_not_retry: frozenset[str]
    grace_ms: int
    timeout_ms: int | None
    heartbeat_timeout_ms: int | None
    timed: bool

    def __init__(self, function: Callable[..., Any], options: TaskOptions) -> None:
        """Raise TypeError for what cannot work, here and not in the first run."""
        made = Function(function.function if isinstance(function, TaskFunction) else function, options.name)
        functools.update_wrapper(self, made.call, updated=())
        self.function = made.call
        self.name = made.name
        self.is_async = made.is_async
        self.takes_context = made.takes_context
        self._unfinished: tuple[Function, TaskOptions] | None = made, options
        with contextlib.suppress(Unresolved):  # what its annotations name may be defined further below
            self.finish(early=True)

    @property
    def finished(self) -> bool:
        """True if the annotations could be read; else they name something that is defined further below."""
        return self._unfinished is None

    def finish(self, *, early: bool = False) -> None:
        """Read the annotations, unless they were read before; raise TypeError for an unknown name in them."""
        if self._unfinished is None:
            return
        function, options = self._unfinished
        self.signature = Signature(function, early=early)
        executor = options.executor or ("inline" if self.is_async else "thread")
        if executor not in EXECUTORS:
            raise TypeError(f"task {self.name}: {executor!r} is not an executor: {', '.join(EXECUTORS)}")
        self.executor = executor
        self.declaration = self._declare(function, options)
        self.do_not_retry = frozenset(self.declaration.retry.do_not_retry)
        self.grace_ms = parse_ms(self.declaration.grace)
        self.timeout_ms = _ms(self.declaration.timeout)
        self.heartbeat_timeout_ms = _ms(self.declaration.heartbeat_timeout)
        self.timed = self.timeout_ms is not None or self.heartbeat_timeout_ms is not None
        self._unfinished = None

    if not TYPE_CHECKING:  # a type checker is to find names that are not there

        def __getattr__(self, name: str) -> Any:
            """Finish the declaration when it is first needed; what else is asked for is the function's."""
            if name in TaskFunction.__annotations__ and self._unfinished is not None:
                self.finish()
                return getattr(self, name)
            if name.startswith("__") or "function" not in self.__dict__:
                raise AttributeError(name)
            return getattr(self.function, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def start(self, input: Mapping[str, Any] | None = None, /, **options: Any) -> RunHandle:  # noqa: A002 - the API's word
        """Start a run and return its handle, as `client.runs.start` does with the same words.

            run = greet.start(who="you", priority=7)

        The client is that of the environment: HEADWAY_URL and HEADWAY_KEY say which server. Inside a run it is a child,
        started once whatever happens to the attempt, as by `ctx.start`, and the handle is that of a child. In async code
        `await` start_async.
        """
        from headway.worker.context import starting  # noqa: PLC0415 - a worker does without the client

        return cast("RunHandle", starting.start(self, input, options))

    async def start_async(self, input: Mapping[str, Any] | None = None, /, **options: Any) -> AsyncRunHandle:  # noqa: A002
        """Start a run as `start` does, for async code and inside async tasks."""
        from headway.worker.context import starting  # noqa: PLC0415 - as above

        return cast("AsyncRunHandle", await starting.start_async(self, input, options))

    def __repr__(self) -> str:
        """Show the name."""
        return f"<task {self.name}>"

    def call(self, context: object, given: Raw) -> Any:
        """Call the function with a run's input; for an async function, return an awaitable."""
        arguments = self.signature.bind(given)
        return self.function(context, **arguments) if self.takes_context else self.function(**arguments)

    def _declare(self, function: Function, options: TaskOptions) -> TaskDeclaration:
        description = function.described() if options.description is None else options.description
        try:
            self.memory_limit = None if options.memory_limit is None else to_bytes(options.memory_limit)
            schema = self.signature.output_schema
            declaration = TaskDeclaration(
                name=self.name,
                description=description,
                executor=self.executor,
                input_schema=Raw(self.signature.input_schema),
                output_schema=None if schema is None else Raw(schema),
                resources=checked(options.resources),
                shared=bool(options.shared),
                **options.declared(),
            )
            # Read back as the server will read it, so that a wrong option is refused where it stands.
            declaration = msgspec.json.decode(msgspec.json.encode(declaration), type=TaskDeclaration)
        except (ValueError, TypeError, AttributeError, msgspec.MsgspecError) as error:
            raise TypeError(f"task {self.name}: {error}") from None
        if self.memory_limit is not None and self.executor != "process":
            raise TypeError(f'task {self.name}: memory_limit needs executor="process"')
        if declaration.resources and self.executor != "ray":
            raise TypeError(f'task {self.name}: resources needs executor="ray"')
        return declaration


if TYPE_CHECKING:

    class TypedTask(TaskFunction, Generic[P, R]):
        """A task, to type checkers: called, it is the function that it was."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
            """Call the function itself."""
            ...


class App:
    """A collection of tasks: `app = headway.App()`, then `@app.task` on functions.

    >>> app = App()
    >>> @app.task
    ... async def greet(name: str) -> str:
    ...     return f"hello {name}"
    >>> list(app.tasks)
    ['greet']
    """

    def __init__(self, *, capture_logging: bool = True, shared: bool = False) -> None:
        """`capture_logging`: what Python's `logging` gets from inside a run at INFO and above goes to the run's log too.

        `shared`: every organisation may start the tasks, except those that say `shared=False` themselves.
        """
        self.capture_logging = capture_logging
        self.shared = shared
        self._tasks: dict[str, TaskFunction] = {}
        self._schedules: dict[str, ScheduleDeclaration] = {}

    @property
    def tasks(self) -> Mapping[str, TaskFunction]:
        """The tasks by name; raises TypeError for annotations that name something undefined."""
        for task in self._tasks.values():
            task.finish()
        return MappingProxyType(self._tasks)

    @property
    def schedules(self) -> Mapping[str, ScheduleDeclaration]:
        """The schedules by name, as the worker declares them."""
        return MappingProxyType(self._schedules)

    def find(self, name: str) -> TaskFunction:
        """Return the task; raise KeyError if it is not here."""
        return self._tasks[name]

    def __getattr__(self, name: str) -> TaskFunction:
        """Return the task of that name: `app.greet`, or `app.tasks["mail.send"]` for a name with a dot."""
        tasks: dict[str, TaskFunction] = self.__dict__.get("_tasks", {})
        if name not in tasks:
            raise AttributeError(f"the app has no task {name!r}; it has {', '.join(tasks) or 'none'}")
        return tasks[name]

    @overload
    def task(self, function: Callable[P, R], /, **options: Any) -> TypedTask[P, R]: ...
    @overload
    def task(self, /, **options: Any) -> Callable[[Callable[P, R]], TypedTask[P, R]]: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Declare a function as a task, as a decorator or by a call; the options are those of TaskOptions."""
        try:
            chosen = TaskOptions(**options)
        except TypeError as error:
            raise TypeError(f"@app.task: {error}") from None
        return functools.partial(self._add, options=chosen) if function is None else self._add(function, chosen)

    def schedule(self, occurrence: str, /, **options: Any) -> Callable[[T], T]:
        """Declare when a task runs by itself, in a line above `@app.task`; the options are those of ScheduleOptions.

            @app.schedule("30 2 * * *", timezone="Europe/Berlin", input={"folder": "/srv"})
            @app.task
            async def backup(folder: str) -> None: ...

        The server keeps it from the moment at which a worker with this code connects.
        """
        try:
            chosen = ScheduleOptions(**options)
        except TypeError as error:
            raise TypeError(f"@app.schedule: {error}") from None
        return functools.partial(self._schedule, occurrence=occurrence, options=chosen)

    def _schedule(self, task: T, occurrence: str, options: ScheduleOptions) -> T:
        if not isinstance(task, TaskFunction) or self._tasks.get(task.name) is not task:
            raise TypeError(f"@app.schedule stands above @app.task of the same app, not on {task!r}")
        bind = task.signature.bind if task.finished else None
        declaration = declare(task.name, bind, occurrence, options)
        if declaration.name in self._schedules:
            raise TypeError(f"schedule {declaration.name} is declared twice; give each of them a name")
        self._schedules[declaration.name] = declaration
        return task

    def _add(self, function: Callable[..., Any], options: TaskOptions) -> TaskFunction:
        if options.shared is None:
            options = msgspec.structs.replace(options, shared=self.shared)
        task = TaskFunction(function, options)
        if task.name in self._tasks:
            raise TypeError(f"task {task.name} is declared twice")
        self._tasks[task.name] = task
        return task


def _ms(text: str | None) -> int | None:
    return None if text is None else parse_ms(text)
