"""Ask a person: the run waits for days without holding a worker, and goes on where it stood.

headway serve examples.approval:app
headway run publish title="Spring prices" --detach
headway runs signal ID approval '{"by": "Ann", "ok": true}'
"""

from __future__ import annotations

import asyncio
from typing import Any

import headway

app = headway.App()


@app.task
async def publish(ctx: headway.Context, title: str) -> dict[str, Any]:
    """Write a draft, wait for a person to approve or reject it, and publish it or not."""
    draft = await ctx.step("draft", write_draft, title)
    ctx.publish(draft, "draft")
    try:
        answer = await ctx.wait_for_signal("approval", timeout="3 days")
    except TimeoutError:
        return {"published": False, "why": "nobody answered within three days"}
    if not answer["ok"]:
        return {"published": False, "why": f"{answer['by']} said no"}
    return {"published": True, "text": draft["text"], "by": answer["by"]}


@app.task
async def publish_by_link(ctx: headway.Context, title: str) -> dict[str, Any]:
    """Do the same for a person without access, who answers with a token, once.

    The token is published as a result of the run, for the program that sends the mail:

        curl -X POST http://127.0.0.1:8006/v1/tokens/TOKEN:complete -H 'Content-Type: application/json' -d '{"value": true}'
    """
    draft = await ctx.step("draft", write_draft, title)
    ctx.publish({"token": await ctx.token("approval")}, "ask")
    return {"published": await ctx.wait_for_token("approval") is True, "text": draft["text"]}


async def write_draft(title: str) -> dict[str, str]:
    """Stand for something slow and costly that must not happen twice."""
    await asyncio.sleep(0)
    return {"title": title, "text": f"{title}: all new, all better."}
