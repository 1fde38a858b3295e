"""The context of the run that the calling code belongs to."""

from __future__ import annotations

from headway.worker.context.context import Context
from headway.worker.context.plans import current
from headway.worker.context.sync_context import SyncContext


def context() -> Context | SyncContext:
    """Return the context of the run that this code belongs to; raise LookupError outside of runs."""
    found = current.get()
    if isinstance(found, Context | SyncContext):
        return found
    raise LookupError("this code does not run inside a Headway run")
