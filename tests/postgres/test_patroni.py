"""Patroni comes up by itself, is what the operator's page shows, and nothing is left of it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.faults.server import ROOT, ended
from tests.faults.waiting import until
from tests.postgres.keeper import processes
from tests.postgres.patroni import AGREED, TIMES

PROGRAM = """
import sys
from tests.postgres.patroni import Patroni
patroni = Patroni().start()
print(patroni.folder, flush=True)
sys.stdin.read()
"""


def test_the_page_for_operators_shows_the_settings_that_are_tried():
    page = (ROOT / "docs/how-to/high-availability.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert yaml.safe_load(shown)["bootstrap"]["dcs"] == {**TIMES, **AGREED}


@pytest.mark.long
def test_only_one_member_takes_writes_and_one_other_has_them(patroni):
    assert [member for member in patroni.members if member.takes_writes()] == [patroni.primary]
    assert patroni.synchronous is not patroni.primary
    held = patroni.primary.query("SELECT application_name FROM pg_stat_replication WHERE sync_state = 'sync'")
    assert held == [(patroni.synchronous.name,)]


@pytest.mark.long
def test_nothing_is_left_of_the_patroni_of_a_test_process_that_was_killed(patroni):
    """It is another than the one that tests share."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    with process:
        folder = Path(process.stdout.readline().decode().strip())
        servers = processes(folder)
        assert len(servers) > 10
        process.send_signal(signal.SIGKILL)
    assert all(ended(pid, 10) for pid in servers)
    until(lambda: not folder.exists(), 10, "the folder is removed")
    assert patroni.primary.takes_writes()
