"""The function of a task: its layers of decorators, whether it is async, and its parameters with their types.

A task may be a function, a bound or static method, a functools.partial, an object with `__call__`, or one of these under
decorators that use functools.wraps. `layers` walks from the outermost to the innermost.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, get_args, get_type_hints

from headway.codec import Unresolved

_CONTEXTS: Final = {
    "Context": "headway.worker.context.context",
    "SyncContext": "headway.worker.context.sync_context",
}
"""Names of the contexts, and their modules, which are not imported here."""
_LOCALS: Final = re.compile(r"\.<locals>\.")


class Function:
    """A callable with its name, its parameters and their annotations."""

    __slots__ = ("_enclosing", "call", "is_async", "name", "parameters", "returns", "takes_context", "what")

    def __init__(self, given: Any, name: str | None) -> None:
        """Raise TypeError for what cannot be a task."""
        self.call = _callable(given, name)
        self.name = str(name or _name(self.call))
        self.what = f"task {self.name}"
        self._enclosing = _enclosing(self.call)
        self._refuse_generators()
        try:
            signature = _signature(self.call)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{self.what}: it has no signature that can be read: {error}") from None
        bound = {key for layer in layers(self.call) if isinstance(layer, functools.partial) for key in layer.keywords}
        # Parameters that a partial fills are no inputs.
        self.parameters = [each for each in signature.parameters.values() if each.name not in bound]
        self.returns: Any = signature.return_annotation
        self.takes_context = bool(self.parameters) and self._is_context(self.parameters[0])
        self.is_async = self._is_async()
        if self.takes_context:
            self.parameters.pop(0)
        self._refuse_methods()

    def hints(self) -> dict[str, Any]:
        """Return the types by parameter; raise Unresolved or TypeError for an annotation that cannot be evaluated."""
        found = self._resolved({each.name: each.annotation for each in self.parameters})
        for name, hint in found.items():
            if _contexts(hint):
                raise TypeError(f"{self.what}: {name}: the context must be the first parameter of a task")
        return found

    def return_hint(self) -> Any:
        """Return the type of what is returned, `inspect.Parameter.empty` if nothing is said; raise as `hints` does."""
        return self._resolved({"return": self.returns}).get("return", inspect.Parameter.empty)

    def described(self) -> str:
        """Return the first paragraph of the docstring."""
        for layer in layers(self.call):
            if not isinstance(layer, functools.partial) and (text := inspect.getdoc(layer)):
                return text.partition("\n\n")[0].replace("\n", " ")
        return ""

    def _resolved(self, annotations: dict[str, Any]) -> dict[str, Any]:
        said = {key: hint for key, hint in annotations.items() if hint is not inspect.Parameter.empty}
        source = _source(self.call)
        names = {each.__name__: each for each in getattr(source, "__type_params__", ())}
        for frame in self._enclosing:
            names |= frame.f_locals
        names |= _closure(source)
        try:
            holder = types.SimpleNamespace(__annotations__=said)
            return get_type_hints(holder, getattr(source, "__globals__", {}), names, include_extras=True)
        except NameError as error:
            raise Unresolved(f"{self.what}: an annotation cannot be resolved: {error}") from None
        except Exception as error:  # noqa: BLE001 - annotations are code
            raise TypeError(f"{self.what}: an annotation cannot be resolved: {error}") from None

    def _is_context(self, first: inspect.Parameter) -> bool:
        if first.name == "ctx":
            return True
        hint = first.annotation
        text = hint if isinstance(hint, str) else getattr(hint, "__forward_arg__", getattr(hint, "__name__", ""))
        if text.rpartition(".")[2] in _CONTEXTS:  # it need not be importable: often it is for type checkers only
            return True
        return bool(_contexts(self._first_hint(first)))

    def _first_hint(self, first: inspect.Parameter) -> Any:
        try:
            return self._resolved({first.name: first.annotation}).get(first.name)
        except TypeError:
            return None

    def _is_async(self) -> bool:
        if not any(inspect.iscoroutinefunction(layer) for layer in layers(self.call)):
            return False
        if not self.takes_context or inspect.iscoroutinefunction(self.call):
            return True
        # A plain decorator around an async function passes on its coroutine, unless it says that it is plain throughout.
        first = self.parameters[0]
        return _contexts(self._first_hint(first)) != {"SyncContext"}

    def _refuse_generators(self) -> None:
        wrapped = False
        for layer in layers(self.call):
            if inspect.iscoroutinefunction(layer):
                return
            # A plain decorator can turn a generator into a list, but an async one only into a coroutine.
            if inspect.isasyncgenfunction(layer) or (inspect.isgeneratorfunction(layer) and not wrapped):
                raise TypeError(f"{self.what}: a generator cannot be a task; publish results with ctx.publish")
            wrapped = wrapped or hasattr(layer, "__wrapped__")

    def _refuse_methods(self) -> None:
        owner = getattr(_source(self.call), "__qualname__", "").rpartition(".")[0]
        named = {each.name for each in self.parameters[:1]}
        if owner and not owner.endswith("<locals>") and named & {"self", "cls"}:
            raise TypeError(
                f"{self.what}: the method {owner}.{_source(self.call).__name__} is not bound to an object; "
                "declare that of an object: app.task(thing.method)"
            )


def layers(function: Any) -> Iterator[Any]:
    """Yield a callable and what is beneath it, the innermost last."""
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        yield function
        seen.add(id(function))
        function = _beneath(function)


def _beneath(function: Any) -> Any:
    if isinstance(function, functools.partial):
        return function.func
    if inspect.ismethod(function) or isinstance(function, staticmethod):
        return function.__func__
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is None and not inspect.isroutine(function):
        return getattr(type(function), "__call__", None)  # noqa: B004 - the method itself
    return wrapped


def _callable(given: Any, name: str | None) -> Callable[..., Any]:
    what = f"task {name or getattr(given, '__name__', '')}".rstrip()
    if isinstance(given, str):
        raise TypeError(f"@app.task({given!r}): a name is given as @app.task(name={given!r})")
    if isinstance(given, classmethod):
        raise TypeError(f"{what}: a class method is declared once the class is there: app.task(Thing.method)")
    if isinstance(given, staticmethod):
        return _callable(given.__func__, name)
    if inspect.isclass(given):
        raise TypeError(f"{what}: a class cannot be a task; declare a function, or an object that has __call__")
    if not callable(given):
        raise TypeError(f"{what}: {type(given).__name__} cannot be called, so that it cannot be a task")
    function: Callable[..., Any] = given
    return function


def _name(function: Callable[..., Any]) -> str:
    for layer in layers(function):
        if not isinstance(layer, functools.partial) and (name := getattr(layer, "__name__", "")):
            return str(name) if name != "__call__" else type(function).__name__
    return type(function).__name__


def _source(function: Callable[..., Any]) -> Any:
    """Return the innermost layer, in whose module and closure annotations are evaluated."""
    return list(layers(function))[-1]


def _closure(source: Any) -> dict[str, Any]:
    code, cells = getattr(source, "__code__", None), getattr(source, "__closure__", None) or ()
    if code is None:
        return {}
    found = {}
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # empty: it is defined further below, as the task itself is
            continue
    return found


def _enclosing(function: Callable[..., Any]) -> list[FrameType]:
    """Return the frames of the functions in which this one is defined, the outermost first.

    Annotations that are text name local variables there, which no closure holds.
    """
    source = _source(function)
    code, owner = getattr(source, "__code__", None), getattr(source, "__qualname__", "")
    owners = {owner[: at.start()] for at in _LOCALS.finditer(owner)}
    if code is None or not owners:
        return []
    found: dict[str, FrameType] = {}
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the only way to see what is local to them
    while frame is not None and len(found) < len(owners):
        name = frame.f_code.co_qualname
        if name in owners and frame.f_code.co_filename == code.co_filename:
            found.setdefault(name, frame)
        frame = frame.f_back
    return [found[name] for name in sorted(found, key=len)]


def _contexts(hint: Any) -> set[str]:
    """Return which contexts a type names, itself or in a union."""
    kinds = get_args(hint) or (hint,)
    return {
        each.__name__ for each in kinds if isinstance(each, type) and _CONTEXTS.get(each.__name__) == each.__module__
    }


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415 - what cannot be evaluated yet is kept by its name

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)
