"""One run that starts many: count the words of every text file in a folder, each in a run of its own.

headway serve examples.fanout:app
headway run count_folder folder=./docs
"""

from __future__ import annotations

from pathlib import Path

import headway

app = headway.App()


@app.task
async def count_folder(ctx: headway.Context, folder: str, pattern: str = "**/*.md") -> dict[str, int]:
    """Start a child for each file, wait for all, and add up. While the children run this holds no worker."""
    paths = await ctx.step("list", lambda: sorted(str(path) for path in Path(folder).glob(pattern) if path.is_file()))
    children = [await ctx.start(count_file, path=path) for path in paths]
    counts = await ctx.results(*children)
    return {"files": len(paths), "words": sum(counts)}


@app.task(concurrency=4, retry=headway.Retry(max_attempts=3, backoff="1s"))
def count_file(path: str) -> int:
    """Count the words of one file; at most four at once, whatever the number of workers."""
    return len(Path(path).read_text(encoding="utf-8", errors="replace").split())
