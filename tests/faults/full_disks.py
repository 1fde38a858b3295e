"""Small file systems, and starts until they are full."""

import contextlib
import os
import subprocess

import msgspec
import pytest
from tests.faults.protocol import of
from tests.faults.waiting import until

from headway.client.errors import ConnectionLost


def start_some(deployment, first):
    http = deployment.connect(5)
    found = []
    for n in range(first + 1, first + 6):
        body = msgspec.json.encode({"task": "job", "input": {"n": n}})
        with contextlib.suppress(ConnectionLost):
            answer = http.request("POST", "/v1/runs", body)
            assert answer.status in {202, 500, 503}, answer
            if answer.status == 202:
                found.append(msgspec.json.decode(answer.body)["id"])
                deployment.ledger.note("acknowledged", n=n, run_id=found[-1])
    return found


@contextlib.contextmanager
def disk_of(size, folder):
    """Give a disk of its own, or skip the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk):
    """Leave no byte free; return the file that takes the place."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 65_536)
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x")
    return ballast


def ended_on_a_full_disk(hand, leases):
    """Report the ends of all runs, as a worker does: again until it is taken."""
    for lease in leases:

        def taken(lease=lease):
            answer = hand.send(of(lease, "succeeded", output="x" * 1_000))
            assert answer.status in {200, 503}, answer
            return answer.status == 200

        until(taken, 10, "a run ends on a full disk")
