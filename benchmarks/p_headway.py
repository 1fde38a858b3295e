"""Headway as a peer of the benchmark harness (`Peer` of its driver.py): servers, and workers beside them.

    PYTHONPATH=benchmarks:PATH/TO/peers BENCH_VARIANT=default python PATH/TO/peers/driver.py p_headway default

Variants: default (one server on an embedded file; its Python client, one run a request), wire (the same requests from bare
sockets, as a client in another language), pg (as wire, on the harness's PostgreSQL), pg2, pg3 … (the same with so many
servers, which share requests and workers). HEADWAY_BENCH_SHARE=0.2 gives each server so much of a core and no more (as root,
by a control group): what a further server adds when the machine is not full.
"""

from __future__ import annotations

import asyncio
import glob
import os
import socket
import sys
import time
import urllib.request

import headway

try:
    from common import BENCH, hit
except ImportError:  # imported by a child that has not the harness on its path
    BENCH, hit = "", lambda sent_ns=0: None

HERE = os.path.dirname(os.path.abspath(__file__))
PORT = int(os.environ.get("HEADWAY_BENCH_PORT", "18006"))
URL = f"http://127.0.0.1:{PORT}"
DB = f"{BENCH}/headway.db"
DATABASE = "headway"
"""In the harness's PostgreSQL."""
SHARE = float(os.environ.get("HEADWAY_BENCH_SHARE", "0"))
PERIOD_US = 10_000
"""A server that has used up its share waits for the rest of so long."""
app = headway.App()


@app.task
async def noop(ts: int = 0) -> None:
    hit(ts)


def plus(x: int) -> int:
    return x + 1


@app.task
async def three(ctx: headway.Context, x: int = 0) -> int:
    for name in ("a", "b", "c"):
        x = await ctx.step(name, plus, x)
    hit(0)
    return x


def limited(port: int) -> list[str]:
    """The beginning of a command whose process gets SHARE of a core: it joins a group of its own before it is Headway."""
    if not SHARE:
        return []
    group = f"/sys/fs/cgroup/cpu/headway-bench-{port}"
    os.makedirs(group, exist_ok=True)
    for name, value in (("cfs_period_us", PERIOD_US), ("cfs_quota_us", int(SHARE * PERIOD_US))):
        with open(f"{group}/cpu.{name}", "w") as limit:
            limit.write(str(value))
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]


def peer(variant):
    from driver import Peer, kill, pg_pid, spawn

    on_pg = variant.startswith("pg")
    ports = [PORT + number for number in range(int(variant.removeprefix("pg") or 1) if on_pg else 1)]

    class P(Peer):
        name, BULK, FLOW = "headway", True, True
        durable = "postgres commit" if on_pg else "fsync per commit (SQLite WAL, synchronous=FULL)"
        N_ONE, N_C50, N_BULK, N_RUN, N_FLOW = 2000, 10_000, 50_000, 50_000, 5000
        conf = (
            f"{len(ports)} server process{'es' * (len(ports) > 1)}{f' with {SHARE} of a core each' * bool(SHARE)}, "
            f"{'PostgreSQL' if on_pg else 'SQLite file'}; workers: capacity 1000"
        )
        servers = ()

        def versions(self):
            python = sys.version.split()[0]
            if on_pg:
                import psycopg

                return f"headway {headway.__version__}, psycopg {psycopg.__version__}, python {python}"
            import apsw

            return f"headway {headway.__version__}, sqlite {apsw.sqlite_lib_version()}, python {python}"

        def reset(self):
            self.stop_server()
            for path in glob.glob(DB + "*"):
                os.unlink(path)
            if on_pg:
                import psycopg
                from common import PG_DSN

                with psycopg.connect(PG_DSN, autocommit=True) as connection:
                    connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
                    connection.execute(f"CREATE DATABASE {DATABASE}")

        def store(self):
            if not on_pg:
                return f"sqlite:///{DB}"
            from common import PG_DSN

            return f"{PG_DSN.rpartition('/')[0]}/{DATABASE}"

        def start_server(self):
            argv = [sys.executable, "-m", "headway", "serve", "--store", self.store(), "--port"]
            self.servers = [spawn([*limited(port), *argv, str(port)], f"headway-server-{port}") for port in ports]
            for port in ports:
                until = time.monotonic() + 20
                while time.monotonic() < until:
                    with socket.socket() as probe:
                        if probe.connect_ex(("127.0.0.1", port)) == 0:
                            break
                    time.sleep(0.002)
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=20).read()

        def stop_server(self):
            if self.servers:
                kill(list(self.servers), grace=10)
                self.servers = ()

        def server_pids(self):
            return [*(server.pid for server in self.servers), *(pg_pid() if on_pg else ())]

        async def open(self):
            self.client = headway.AsyncClient(URL)
            self.declare()
            self.free = []
            self.sent = 0

        def declare(self):
            """Tasks are known once a worker has declared them; the queue is filled before the first worker comes."""
            from headway.client.transport import Transport
            from headway.protocol.workers import RegisterWorker
            from headway.worker.protocol.link import HttpLink

            link = HttpLink(Transport(URL))
            link.register(RegisterWorker(name="declares", tasks=[task.declaration for task in app.tasks.values()]))
            link.close()

        async def close(self):
            await self.client.close()
            for _, writer in self.free:
                writer.close()

        async def bare(self, body):
            """POST /v1/runs on a kept-alive socket, parsing no more than the status."""
            if self.free:
                reader, writer = self.free.pop()
            else:
                self.sent += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", ports[self.sent % len(ports)])
            writer.write(
                b"POST /v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 202"), head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.free.append((reader, writer))

        async def send(self, ts):
            if variant != "default":
                await self.bare(b'{"task":"noop","input":{"ts":%d}}' % ts)
            else:
                await self.client.runs.start("noop", ts=ts)

        async def flow(self):
            await self.client.runs.start("three")

        async def bulk(self, n):
            batch = [{"task": "noop"} for _ in range(1000)]

            async def go(k):
                for _ in range(k):
                    await self.client.runs.start_many(batch)

            lanes = 4
            await asyncio.gather(*(go(n // 1000 // lanes + (lane < n // 1000 % lanes)) for lane in range(lanes)))

        def drained(self):
            with urllib.request.urlopen(f"{URL}/v1/runs:count?group_by=state") as answer:
                return answer.read().decode()

        async def status_url(self):
            handle = await self.client.runs.start("noop")
            await handle.wait(timeout=20)
            return f"{URL}/v1/runs/{handle.id}"

        def worker(self, procs):
            # The driver puts only its own directory on a child's path; this module is here.
            path = f"PYTHONPATH={os.pathsep.join(filter(None, (HERE, os.environ.get('PYTHONPATH'))))}"
            urls = [f"http://127.0.0.1:{ports[number % len(ports)]}" for number in range(procs)]
            tail = ["p_headway:app", "--capacity", "1000"]
            return [["env", path, sys.executable, "-m", "headway.worker", url, *tail] for url in urls]

    p = P()
    p.variant = variant
    return p
