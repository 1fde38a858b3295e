"""The alert rules: they are sound, fire when they should, and ask for what a server has."""

import re
import shutil
import subprocess

import pytest
from tests.docs.pages import ROOT

RULES, CASES = ROOT / "ops/alerts.yaml", ROOT / "ops/alerts.test.yaml"
METRIC = re.compile(r"\bheadway_\w+")
SUFFIX = re.compile(r"_(total|bucket|sum|count)$")


@pytest.mark.parametrize("command", [["check", "rules", RULES], ["test", "rules", CASES]], ids=lambda each: each[0])
def test_prometheus_accepts_the_rules_and_they_fire_as_their_cases_say(command):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not there (Debian: prometheus)")
    done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions():
    """Return the expressions of the rules, by alert."""
    found = re.split(r"- alert: (\w+)", RULES.read_text())[1:]
    return {name: body.partition("annotations:")[0] for name, body in zip(found[::2], found[1::2], strict=True)}


def test_each_alert_has_a_case_that_fires_it():
    fired = re.findall(r"alertname: (\w+)\n\s+exp_alerts", CASES.read_text())
    assert set(fired) == set(expressions())


def test_rules_ask_for_metrics_that_a_server_has():
    reference = (ROOT / "docs/reference/http-api.md").read_text()  # held against the server by its own test
    known = set(re.findall(r"^\| `(headway_\w+)` \|", reference, re.MULTILINE))
    asked = {SUFFIX.sub("", name) for text in expressions().values() for name in METRIC.findall(text)}
    assert asked - known == set()
    assert len(asked) > 8


def test_what_an_alert_says_to_run_is_a_command_of_headway():
    commands = set(re.findall(r"^#+ headway (.+)$", (ROOT / "docs/reference/cli.md").read_text(), re.MULTILINE))
    for said in re.findall(r"`headway ([a-z -]+?)(?: --.*?| [A-Z{].*?)?`", RULES.read_text()):
        assert said.strip() in commands, said
