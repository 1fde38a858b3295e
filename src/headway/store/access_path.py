"""Choice of the index that a list walks, so that a page costs the same for a thousand runs and for a million.

An index knows of one thing that is wanted; the rest is looked up run by run. If few runs are both, an index may be walked
for a long time, so a page looks at a window of so many only, and says where the next one goes on: it may be short, or
empty, though there is more. Of several indexes the one is best whose window reaches farthest, as its runs are the rarest
there; one that ends within its window is walked to its end.
"""

from __future__ import annotations

from headway.kernel.query import Page, RunFilter
from headway.store import lists
from headway.store.database import Reading
from headway.store.lists import BY_END, BY_ID, AccessPath
from headway.store.statements import Dialect


def choose(dialect: Dialect, database: Reading, wanted: RunFilter, at: Page, window: int) -> tuple[AccessPath, str]:
    """Return the access path of a page, and the edge at which the page ends though it is not full ("" for none)."""
    ended = wanted.finished_after is not None or wanted.finished_before is not None
    walked = [BY_END] if at.by_end else lists.access_paths(wanted)
    if _is_all(wanted, walked, at, ended=ended):
        return walked[0], ""

    def edge(path: AccessPath) -> str:
        found = [database.select(sql, binds) for sql, binds in lists.edges(dialect, wanted, at, path, window)]
        positions = [lists.position(rows[0]) for rows in found if rows]
        # Several values have a window each: the page ends where the first of them does.
        return max(positions, default="") if at.newest_first else min(positions, default="")

    reached: list[tuple[str, AccessPath]] = []
    for path in walked:
        end = edge(path)
        if not end:
            return path, ""
        reached.append((end, path))
    if ended and not at.by_end and not edge(BY_END):
        return BY_END, ""
    farthest = min if at.newest_first else max
    end, path = farthest(reached, key=lambda found: found[0])
    return path, end


def _is_all(wanted: RunFilter, walked: list[AccessPath], at: Page, *, ended: bool) -> bool:
    """Tell whether one index covers the whole filter: every run in it is in the list."""
    if at.by_end:
        return (
            lists.access_paths(wanted) in ([BY_ID], [AccessPath("state")])
            and wanted.created_after is wanted.created_before is None
        )
    return len(walked) == 1 and not ended
