"""What holds for every test."""

import os
import re
import signal
from collections import Counter

import pytest

# Before anything of Headway's is imported: a key or a server of the developer's is nothing that tests may use.
for _name in [name for name in os.environ if re.match(r"HEADWAY_(?!TEST_|FAULT_|BENCH_)", name)]:
    del os.environ[_name]

# Under nohup the signal is ignored, and processes inherit that; a handler is not inherited.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(scope="session")
def anyio_backend():
    """The loop of coroutine tests: asyncio's own, a new one for each test."""
    return "asyncio"


def pytest_collection_modifyitems(items):
    """Refuse a test that is given two times to take: the one above the function would count, and not the parameter's."""
    for item in items:
        given = {mark.args for mark in item.iter_markers("timeout")}
        if len(given) > 1:
            raise pytest.UsageError(f"{item.nodeid} has several timeouts, of which only the first counts: {given}")


def pytest_terminal_summary(terminalreporter):
    """List why tests were skipped: each reason once, with what to install where that helps."""
    skipped = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.getreports("skipped"))
    if skipped:
        terminalreporter.section("skipped", sep="-")
    for reason, times in skipped.most_common():
        terminalreporter.write_line(f"{times:5}  {reason}")
