"""Commands of the writer: operations that are applied within one transaction, alone or with others."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import Any, Generic, TypeVar

from headway.store.counters import Lane
from headway.store.unit_of_work import UnitOfWork

T = TypeVar("T")


class Command(ABC, Generic[T]):
    """An operation whose `apply` changes the unit of a transaction and returns the caller's result.

    A subclass is a dataclass of its arguments, and sets as attributes of the class or of the object what differs from
    these defaults. A transaction that fails may be decided anew: then `apply` is called again.
    """

    run_ids: Iterable[str] = ()
    """Runs that are loaded beforehand, together with those of the other commands."""
    keys: Iterable[str] = ()
    """Idempotency keys that are looked up beforehand."""
    grows: bool = False
    """Whether the command is refused on a full disk and when too many commands wait."""
    lanes: Callable[[Lane], bool] | None = None
    """Predicate of the lanes that the command waits for; None: the command is applied at once."""
    weight: int = 1
    """Approximate number of runs that the command touches; it limits the size of a transaction."""
    trusts: bool = False
    """Whether copies of runs in memory suffice, as for reports; the second writer applies these, if there is one."""

    lanes_found: Collection[Lane] = ()
    """Lanes with queued runs that match `lanes`, as of the moment at which the writer took the command."""
    future: asyncio.Future[T] | None = None
    result: T | None = None
    failure: BaseException | None = None
    cancelled: bool = False
    """Whether the command stops waiting: it is answered with what it gets at once."""
    settled: bool = False
    """Whether the future is done, also if its caller was cancelled."""

    @abstractmethod
    def apply(self, uow: UnitOfWork) -> T:
        """Change the unit and return the result; a HeadwayError is raised in the caller, and must leave no change."""


class Statement(Command[None]):
    """A command that carries out one named statement."""

    def __init__(self, name: str, /, **binds: Any) -> None:
        self._name = name
        self._binds = binds

    def apply(self, uow: UnitOfWork) -> None:
        """Add the statement to the transaction's."""
        uow.later(self._name, **self._binds)
