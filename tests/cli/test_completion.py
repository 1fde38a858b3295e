"""Completion in real shells: the script is sourced, and asked as the shell asks it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.answers import example
from tests.client import samples
from tests.client.samples import ID
from tests.client.server import Answer, serving

from headway.protocol.workers import TaskOut

HERE = str(Path(sys.executable).parent)
ASK = """
source <(headway completion bash)
complete -p headway >/dev/null || exit 3
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_headway_completion headway
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(words, url="http://127.0.0.1:9"):
    environment = {**os.environ, "PATH": f"{HERE}:{os.environ['PATH']}", "HEADWAY_URL": url}
    done = subprocess.run(
        ["bash", "-c", ASK.format(words=words)], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ("headway sched", {"schedules"}),
        ("headway runs re", {"results", "resume", "retry"}),
        ("headway runs list --sta", {"--state"}),
        ("headway runs list --state ter", {"terminated"}),
        ("headway run back", set()),
        ("headway serve --log-format j", {"json"}),
        ("headway worker --log-level w", {"warning"}),
    ],
)
def test_bash_completes_commands_and_options_without_a_server(words, some):
    assert set(completed(words)) == some


def test_bash_completes_tasks_and_runs_of_the_server():
    names = ("backup", "other", "back;reboot", "back$(reboot)")  # a shell would take the last two for commands
    tasks = Answer(200, {"data": [example(TaskOut, name=name) for name in names]})
    runs = Answer(200, {"data": [samples.run()], "next_page_token": "", "has_more": False})
    with serving(lambda request: tasks if request.path.startswith("/v1/tasks") else runs) as fake:
        assert completed("headway run ba", fake.url) == ["backup"]
        assert completed("headway runs list -t ot", fake.url) == ["other"]
        assert completed("headway runs show 0199", fake.url) == [ID]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_is_one_that_its_shell_can_read(headway, shell):
    code, out, err = headway("completion", shell)
    assert (code, err) == (0, "")
    assert "_HEADWAY_COMPLETE" in out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=out, text=True, check=True, timeout=30)
