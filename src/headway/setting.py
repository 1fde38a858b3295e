"""Settings: values set by an option, an environment variable or in Python, with the same check.

A struct of settings is the table: each field has its type, its kind and its option in one annotation.

    port: Annotated[int, Whole(0, 65_535), "--port"] = 8006
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, TypeVar, get_type_hints

import msgspec

from headway.kinds import Kind, Many, first_refused, shown

T = TypeVar("T", bound=msgspec.Struct)

PREFIX: Final = "HEADWAY_"
PYTHON_ONLY: Final = ""
"""Mark of a setting that has neither option nor variable."""
LOCAL_ONLY: Final = "local only"
"""Mark of a setting that lets requests of this machine in without a key; refused where requests of others arrive too."""


class Former(msgspec.Struct, frozen=True):
    """Mark of a setting that replaces a removed one, which is refused, since the successor has another meaning."""

    name: str


FOREIGN: Final = re.compile(r"HEADWAY_(TEST|BENCH|FAULT)_|HEADWAY_FAIL_POINT$")
"""Variables of our tests and benchmarks."""
_KUBERNETES: Final = re.compile(
    r"HEADWAY_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Variables that Kubernetes sets for a service whose name begins with ours, beside `…_PORT`."""
_KUBERNETES_PORT: Final = re.compile(r"(tcp|udp|sctp)://.*")
"""The value to which Kubernetes sets `…_PORT`."""


class Setting(msgspec.Struct, frozen=True):
    """One setting of a table."""

    name: str
    kind: Kind | Many
    default: Any
    variable: str
    """Environment variable; empty if the setting has none."""
    option: str = ""
    """Command line option; empty if the setting has none."""
    local_only: bool = False
    former: str = ""
    """Name of the removed setting that this one replaces."""

    @property
    def where(self) -> str:
        """Option and variable, as messages name them."""
        return f"{self.option} ({self.variable})" if self.option else self.variable

    def of_option(self, text: str) -> Any:
        """Return the value of the option's text; raise ValueError naming option, variable and accepted values."""
        return self._read(text, self.where)

    def of_variable(self, text: str) -> Any:
        """Return the value of the variable's text; raise ValueError as `of_option` does.

        Bare numbers of `…_MS` are milliseconds.
        """
        bare = self.variable.endswith("_MS") and text.strip().isdigit()
        where = f"{self.variable} ({self.option})" if self.option else self.variable
        return self._read(f"{text.strip()}ms" if bare else text, where, text)

    def of_argument(self, text: str) -> Any:
        """Return the value of an internal program's argument; raise ValueError as `of_option` does."""
        return self._read(text, self.name)

    def check(self, value: Any, where: str = "") -> None:
        """Raise ValueError naming the accepted values, for a value outside of them."""
        if isinstance(self.kind, Many) and not isinstance(value, tuple):
            raise ValueError(  # noqa: TRY004 - as for every other value
                f"{where or self.name}: {shown(value)} is not a tuple, of which each is {self.kind.accepts}"
            )
        if not self.kind.holds(value):
            raise self._refusal(where or self.name, first_refused(self.kind, value))

    def _read(self, text: str, where: str, given: str | None = None) -> Any:
        if not text.strip():
            raise ValueError(f"{where}: it is empty; write {self.kind.accepts}, or leave it out")
        if isinstance(self.kind, Many):
            parts = [part.strip() for part in text.split(",")]
            return tuple(self._one(self.kind.item, part, where, part) for part in parts if part)
        return self._one(self.kind, text, where, text if given is None else given)

    def _one(self, kind: Kind, text: str, where: str, given: str) -> Any:
        try:
            value = kind.read(text)
        except ValueError:
            value = None  # which no kind holds
        if not kind.holds(value):
            raise self._refusal(where, given)
        return value

    def _refusal(self, where: str, value: Any) -> ValueError:
        value_shown = "what it is set to" if getattr(self.kind, "secret", False) else shown(value)
        return ValueError(f"{where}: {value_shown} is not {self.kind.accepts}")


@cache
def settings_of(table: type[msgspec.Struct]) -> tuple[Setting, ...]:
    """Return the settings that a struct declares, in its order; fields without a kind are no settings."""
    hints = get_type_hints(table, include_extras=True)
    found = []
    for field in msgspec.structs.fields(table):
        said = getattr(hints[field.name], "__metadata__", ())
        words = [word for word in said if isinstance(word, str) and word != LOCAL_ONLY]
        former = next((each.name for each in said if isinstance(each, Former)), "")
        kinds = [each for each in said if not isinstance(each, str | Former)]
        if kinds:
            variable = next((word for word in words if word.startswith(PREFIX)), f"{PREFIX}{field.name.upper()}")
            option = next((word for word in words if not word.startswith(PREFIX)), "")
            if PYTHON_ONLY in words:
                variable = ""
            local = LOCAL_ONLY in said
            found.append(Setting(field.name, kinds[0], field.default, variable, option, local, former))
    return tuple(found)


def setting(table: type[msgspec.Struct], name: str) -> Setting:
    """Return one setting of a table."""
    return next(each for each in settings_of(table) if each.name == name)


def check_all(values: msgspec.Struct) -> None:
    """Raise ValueError for the first value that its setting does not take; defaults are not checked."""
    for each in settings_of(type(values)):
        value = getattr(values, each.name)
        if value is not each.default:
            each.check(value, f"{type(values).__name__}.{each.name}")


def read(table: type[T], environment: Mapping[str, str], given: Mapping[str, Any]) -> T:
    """Return the settings: the given value (None: not given), else the environment's, else the default.

    Raises ValueError naming the variable that cannot be read. An empty variable is an absent one, and so is one that
    Kubernetes has set for a service named headway. The variable of a removed setting is refused.
    """
    for each in settings_of(table):
        if each.former and environment.get(old := f"{PREFIX}{each.former.upper()}"):
            raise ValueError(f"{old} was renamed: see {each.variable}, which is off unless it is set")
    values = {}
    for each in settings_of(table):
        text = environment.get(each.variable, "") if each.variable else ""
        if text.strip() and not _KUBERNETES_PORT.fullmatch(text):
            values[each.name] = each.of_variable(text)
    values.update({name: value for name, value in given.items() if value is not None})
    return table(**values)


@contextmanager
def naming_setting(table: type[msgspec.Struct], name: str) -> Iterator[None]:
    """Add the name of a setting to each ValueError raised within."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{setting(table, name).where}: {error}") from None


def variables_of(table: type[msgspec.Struct]) -> frozenset[str]:
    """Return the environment variables of a table, those of removed settings included."""
    found = settings_of(table)
    return frozenset(each.variable for each in found if each.variable) | frozenset(
        f"{PREFIX}{each.former.upper()}" for each in found if each.former
    )


def variable_warnings(environment: Mapping[str, str], known: Iterable[str]) -> list[str]:
    """Return a warning for each variable that begins with `HEADWAY_` and is not known."""
    import difflib  # noqa: PLC0415 - only here, and it takes a while

    names = sorted(known)
    found = []
    for name in sorted(environment):
        if not name.startswith(PREFIX) or FOREIGN.match(name) or _KUBERNETES.fullmatch(name):
            continue
        if name.endswith("_PORT") and _KUBERNETES_PORT.fullmatch(environment[name]):
            if name in names:
                found.append(
                    f"{name} is ignored: it is what Kubernetes sets for a service called headway, not a port; "
                    f"set enableServiceLinks: false, or give the service another name"
                )
            continue
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.75)
            hint = f": did you mean {near[0]}?" if near else ", and has no effect"
            found.append(f"{name} is no setting of Headway{hint}")
    return found
