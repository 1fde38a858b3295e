"""Chooses what a list goes by, so that a page costs the same whether a thousand runs or a million wait, ended, or fit.

An index knows of one thing that is wanted; the rest is looked up run by run. If few runs are both, an index may be walked
for a long time, so a page looks at a window of so many only, and says where the next one goes on: it may be short, or
empty, though there is more. Of several indexes the one is best whose window reaches farthest, as its runs are the rarest
there; one that ends within its window is walked to its end.
"""

from __future__ import annotations

from headway.kernel.query import Page, RunFilter
from headway.store import lists
from headway.store.database import Reading
from headway.store.lists import BY_END, BY_ID, Lead
from headway.store.statements import Dialect


def choose(dialect: Dialect, database: Reading, wanted: RunFilter, at: Page, window: int) -> tuple[Lead, str]:
    """Return what a page goes by, and the edge at which it ends though it is not full ("" for none)."""
    ended = wanted.finished_after is not None or wanted.finished_before is not None
    walked = [BY_END] if at.by_end else lists.leads(wanted)
    if _is_all(wanted, walked, at, ended=ended):
        return walked[0], ""

    def edge(lead: Lead) -> str:
        found = [database.select(sql, binds) for sql, binds in lists.edges(dialect, wanted, at, lead, window)]
        places = [lists.place(rows[0]) for rows in found if rows]
        # Several values have a window each: the page ends where the first of them does.
        return max(places, default="") if at.newest_first else min(places, default="")

    reached: list[tuple[str, Lead]] = []
    for lead in walked:
        end = edge(lead)
        if not end:
            return lead, ""
        reached.append((end, lead))
    if ended and not at.by_end and not edge(BY_END):
        return BY_END, ""
    farthest = min if at.newest_first else max
    end, lead = farthest(reached, key=lambda found: found[0])
    return lead, end


def _is_all(wanted: RunFilter, walked: list[Lead], at: Page, *, ended: bool) -> bool:
    """Tell whether the one index knows of all that is wanted: every run that it has is in the list."""
    if at.by_end:
        return (
            lists.leads(wanted) in ([BY_ID], [Lead("state")]) and wanted.created_after is wanted.created_before is None
        )
    return len(walked) == 1 and not ended
