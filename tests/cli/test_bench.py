"""`headway bench`: a server and a worker of its own, measured from another process."""

import json
import subprocess
import sys


def test_bench_measures_a_server_of_its_own_and_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "-P", "-m", "headway", "--json", "bench", "--dir", str(tmp_path), "--seconds", "0.1"]
    done = subprocess.run([*command, "--only", "reads_1"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found["figures"]) == ["reads_1"]
    assert found["figures"]["reads_1"]["per_s"] > 0
    assert found["cold_start_s"] > 0
    assert list(tmp_path.iterdir()) == []
