"""A machine with systemd on which the lines of docs/how-to/deploy.md are followed, and what its units do when things go wrong."""

import json
import re
import socket

import pytest
from tests.docs.pages import ROOT, fences
from tests.faults.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

APP = '''
import os
import headway

app = headway.App()

@app.task
async def greet(ctx: headway.Context, who: str) -> str:
    return f"hello {who}"

@app.task(executor="thread")
def sees(ctx: headway.Context) -> dict:
    """Files and processes that the confined worker can reach."""
    def readable(path):
        try:
            with open(path, "rb"):
                return True
        except OSError:
            return False
    return {
        "store": readable("/var/lib/headway/headway.db"),
        "key": readable("/etc/headway/worker-reports.key") or readable("/etc/headway/admin.key"),
        "writes": os.access("/srv/reports", os.W_OK) or os.access("/opt/headway", os.W_OK),
        "user": os.getuid(),
    }
'''


def lines(number):
    """Return the commands of the page that this test runs, block by block."""
    page = ROOT / "docs/how-to/deploy.md"
    blocks = [fence for fence in fences(page) if "test_systemd" in fence.attributes.get("skip", "")]
    return [line.removeprefix("$ ") for line in blocks[number].lines]


def shell(machine, *commands):
    return machine.run("/bin/bash", "-ec", "cd /usr/src/headway\n" + "\n".join(commands)).stdout


def headway(machine, *words):
    """Run a command of the admin's."""
    env = [f"HEADWAY_URL=http://127.0.0.1:{machine.port}", "HEADWAY_KEY_FILE=/etc/headway/admin.key"]
    return machine.run("env", *env, "headway", *words)


@pytest.fixture(scope="module")
def served(machine):
    """Headway as the page sets it up, on a free port, since the machine shares the network of this one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        machine.port = probe.getsockname()[1]
    for each in sorted((ROOT / "ops/systemd").iterdir()):
        machine.write(f"/usr/src/headway/ops/systemd/{each.name}", each.read_text())
    env = machine.root / "usr/src/headway/ops/systemd"
    (env / "server.env").write_text(f"HEADWAY_PORT={machine.port}\n")
    (env / "worker.env").write_text(re.sub(":8006", f":{machine.port}", (env / "worker.env").read_text()))
    machine.write("/srv/reports/app.py", APP)
    shell(machine, *lines(0))
    until(lambda: "idle" in headway(machine, "workers", "list").stdout or is_ready(machine), within_s=60)
    return machine


def is_ready(machine):
    return (
        machine.run(
            "python",
            "-c",
            f"import urllib.request as r; r.urlopen('http://127.0.0.1:{machine.port}/readyz')",
            check=False,
        ).returncode
        == 0
    )


def test_the_page_leads_to_a_server_and_workers_that_run_tasks(served):
    first, *others = lines(1)
    output = shell(served, first, f"export HEADWAY_URL=http://127.0.0.1:{served.port}", *others)
    assert '"hello World"' in output
    assert served.of("headway", "ActiveState") == "active"


def test_a_worker_reads_neither_store_nor_keys_and_writes_no_code(served):
    seen = json.loads(headway(served, "run", "sees", "--json").stdout)["output"]
    assert (seen["store"], seen["key"], seen["writes"]) == (False, False, False)
    assert seen["user"] != 0


def test_the_units_are_sound_and_leave_little_open(served):
    units = [f"/etc/systemd/system/{each.name}" for each in sorted((ROOT / "ops/systemd").glob("*.service"))]
    assert served.run("systemd-analyze", "verify", "--man=no", units[0]).stderr == ""
    exposure = {}
    for unit in ("headway.service", "headway-worker@reports.service"):
        said = served.run("systemd-analyze", "security", "--no-pager", unit).stdout
        exposure[unit] = float(re.search(r"Overall exposure level .*: ([0-9.]+)", said)[1])
    assert exposure["headway.service"] <= 2.5, exposure
    assert exposure["headway-worker@reports.service"] <= 6, exposure


def test_a_reload_keeps_the_process(served):
    before = served.of("headway", "MainPID")
    served.run("systemctl", "reload", "headway")
    assert is_ready(served)
    assert served.of("headway", "MainPID") == before


def test_a_server_that_is_killed_is_back_with_its_runs(served):
    started = headway(served, "run", "greet", "who=Night", "--delay", "1h", "--detach").stdout.strip()
    before = served.of("headway", "MainPID")
    served.run("systemctl", "kill", "-s", "KILL", "--kill-whom=main", "headway")
    until(lambda: served.of("headway", "MainPID") not in ("0", before) and is_ready(served), within_s=60)
    assert "scheduled" in headway(served, "runs", "show", started).stdout


def test_workers_that_were_drained_stay_away_until_they_are_started(served):
    listed = json.loads(headway(served, "workers", "list", "--json").stdout)["data"]
    (worker,) = (each for each in listed if each["state"] == "active" and each["pid"])  # the server's own have none
    headway(served, "workers", "drain", worker["id"])
    until(lambda: served.of("headway-worker@reports", "ActiveState") == "inactive", within_s=60)
    assert served.of("headway-worker@reports", "Result") == "success"
    served.run("systemctl", "start", "headway-worker@reports")
    assert "hello again" in headway(served, "run", "greet", "who=again").stdout


def test_a_wrong_setting_ends_the_server_once_and_says_why(served):
    served.run("systemctl", "stop", "headway")
    assert served.of("headway", "Result") == "success"
    env = served.root / "etc/headway/server.env"
    before = env.read_text()
    env.write_text(before + "HEADWAY_LEASE_MS=never\n")
    served.run("systemctl", "start", "headway", check=False)
    until(lambda: served.of("headway", "ActiveState") == "failed", within_s=30)
    assert (served.of("headway", "ExecMainStatus"), served.of("headway", "NRestarts")) == ("2", "0")
    assert "never" in served.run("journalctl", "-u", "headway", "-n", "20", "--no-pager").stdout
    env.write_text(before)
    served.run("systemctl", "reset-failed", "headway")
    served.run("systemctl", "start", "headway")
    until(lambda: is_ready(served), within_s=60)
