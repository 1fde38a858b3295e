"""PgQueuer: python p_pgqueuer.py install | submit | work."""

import asyncio
import sys
from contextlib import asynccontextmanager

import asyncpg
import pgqueuer
import witness
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries


@asynccontextmanager
async def factory():
    connection = await asyncpg.connect(witness.STORE)
    try:
        made = PgQueuer(AsyncpgDriver(connection))

        @made.entrypoint("task")
        async def task(job: Job) -> None:
            await witness.work_async(int(job.payload or b"0"))

        yield made
    finally:
        await connection.close()


async def with_queries(do):
    connection = await asyncpg.connect(witness.STORE)
    try:
        await do(Queries(AsyncpgDriver(connection)))
    finally:
        await connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        asyncio.run(pgqueuer.run("p_pgqueuer:factory"))
    elif sys.argv[1] == "install":
        asyncio.run(with_queries(lambda queries: queries.install()))
    else:
        runner = asyncio.Runner()
        open_now = []

        def send(n):
            """Send on a connection that is made anew when it has broken."""

            async def once():
                if not open_now:
                    open_now.append(await asyncpg.connect(witness.STORE))
                try:
                    await Queries(AsyncpgDriver(open_now[0])).enqueue("task", str(n).encode())
                except BaseException:
                    open_now.clear()
                    raise

            runner.run(once())

        witness.submit(send)
