"""An app whose tasks take and give models, and start each other by their functions."""

from typing import Any

import pydantic

import headway

app = headway.App()


class Line(pydantic.BaseModel):
    sku: str
    count: int = pydantic.Field(gt=0, alias="qty")


class Order(pydantic.BaseModel):
    id: int
    lines: list[Line] = []

    @pydantic.field_validator("id")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("an id is even")
        return value


@app.task
async def pack(of: Order) -> list[Line]:
    return of.lines


@app.task(executor="process")
def pack_elsewhere(of: Order) -> list[Line]:
    return of.lines


@app.task
async def both(ctx: headway.Context, of: Order) -> list[Any]:
    child = await pack.start_async(of=of, labels={"by": "both"})
    return [await child.result(), (await ctx.wait_for_signal("go"))]


@app.task
def plainly(ctx: headway.SyncContext, of: Order) -> Any:
    return pack.start(of=of).result()


@app.task
async def told(ctx: headway.Context, of: Order) -> Order:
    ctx.progress(1, 2)
    ctx.log("packing", order=of)
    ctx.publish(of.lines[0], name="first")
    await ctx.step("note", lambda: of)
    return of
