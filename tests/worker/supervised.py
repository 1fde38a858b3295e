"""A supervisor whose worker processes are observed."""

import asyncio
import sys

from headway.worker.processes.supervisor import Supervisor


class ObservedSupervisor:
    """A supervisor of Python one-liners, and what it said and passed on."""

    def __init__(self, program, processes=1, **options):
        self.said, self.written, self.heard = [], bytearray(), asyncio.Event()
        self.supervisor = Supervisor(processes, self._argv, say=self._say, write=self._write, **options)
        self._program = program

    def _argv(self, _):
        self.heard.set()  # a process is started
        return [sys.executable, "-uc", self._program]

    def _say(self, text):
        self.said.append(text)
        self.heard.set()

    def _write(self, chunk):
        self.written += chunk
        self.heard.set()

    async def until(self, happened):
        async with asyncio.timeout(20):
            while not happened():
                self.heard.clear()
                await self.heard.wait()
