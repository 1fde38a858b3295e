"""The app of the compose file's worker: put yours in its place."""

import headway

app = headway.App()


@app.task
async def greet(ctx: headway.Context, who: str) -> str:
    """Greet somebody."""
    ctx.log("greeting", level="info", who=who)
    return f"hello {who}"
