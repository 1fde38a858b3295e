"""Every setting, below and above its range, of a wrong type and empty: by its option, its variable and in Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import click
import pytest

from headway import config
from headway.cli.main import root
from headway.config import ClientSettings, Settings, WorkerSettings, variable
from headway.durations import format_ms
from headway.kinds import Choice, Duration, Flag, Many, Matching, Seconds, Text, Whole
from headway.setting import read, settings_of
from headway.surfaces import tables

TABLES = (Settings, WorkerSettings, ClientSettings, *tables())
COMMANDS = {Settings: "serve", WorkerSettings: "worker"}
EVERY = [
    pytest.param(table, each, id=f"{table.__name__}.{each.name}") for table in TABLES for each in settings_of(table)
]


def refused_values(kind):
    """Return values of Python below, above and of a wrong type."""
    match kind:
        case Many():
            return [(value,) for value in refused_values(kind.item)] + ["text", 1, None, ["x"]]
        case Whole():
            return [kind.least - 1, kind.most + 1, "1", 1.5, True, None]
        case Seconds():
            return [kind.least / 2, kind.most + 1, float("nan"), "1", True, None]
        case Flag():
            return [0, 1, 2, "true", None]
        case Text():
            short = ["x" * (kind.least - 1)] if kind.least > 1 else [""] if kind.least else []
            return [*short, "x" * (kind.most + 1), "a\nb", "a\0b", 1, None]
        case Choice():
            return ["nonsense", "", 1, None]
        case Matching():
            return ["http://[", "", "a b", 1, None]


def refused_texts(kind):
    """Return texts below, above and of a wrong type."""
    match kind:
        case Many():
            return refused_texts(kind.item)
        case Duration():
            below = [format_ms(kind.least - 1)] if kind.least else ["-1s"]
            return [*below, format_ms(kind.most + 1), "abc", "5 apples", "1e3"]
        case Whole():
            return [str(kind.least - 1), str(kind.most + 1), "abc", "tcp:1", "1.5.2"]
        case Flag():
            return ["perhaps", "2", "tru"]
        case Text():
            return ["x" * (kind.least - 1)] if kind.least > 1 else ["x" * (kind.most + 1), "a\nb"]
        case Choice():
            return ["nonsense"]
        case Matching():
            return ["http://[", "a b"]
    return []


def of_environment(table, **environment):
    return config.from_environment(environment) if table is Settings else read(table, environment, {})


@pytest.mark.parametrize(("table", "each"), EVERY)
def test_a_value_of_python_that_no_setting_takes_is_refused_with_what_is_accepted(table, each):
    for value in refused_values(each.kind):
        if value == "" == each.default:  # which stands for none
            continue
        with pytest.raises(ValueError, match=re.escape(f"{table.__name__}.{each.name}: ")) as refused:
            table(**{each.name: value})
        assert each.kind.accepts in str(refused.value)


@pytest.mark.parametrize(("table", "each"), [one for one in EVERY if one.values[1].variable])
def test_a_variable_out_of_range_or_of_a_wrong_type_is_refused_with_its_name_its_option_and_what_is_accepted(
    table, each
):
    for text in refused_texts(each.kind):
        if re.fullmatch(r"\d+", text) and each.variable.endswith("_MS"):
            continue
        with pytest.raises(ValueError, match=re.escape(each.kind.accepts)) as refused:
            of_environment(table, **{each.variable: text})
        said = str(refused.value)
        assert said.startswith(each.variable)
        assert each.option in said
        assert getattr(each.kind, "secret", False) or repr(text)[:60] in said


@pytest.mark.parametrize(("table", "each"), [one for one in EVERY if one.values[1].variable])
def test_an_empty_variable_is_an_absent_one(table, each):
    for empty in ("", " ", "\n"):
        assert of_environment(table, **{each.variable: empty}) == table()


@pytest.mark.parametrize(
    ("table", "each"), [one for one in EVERY if one.values[1].option and one.values[0] in COMMANDS]
)
def test_an_option_out_of_range_of_a_wrong_type_or_empty_ends_the_command_with_what_is_accepted(headway, table, each):
    if isinstance(each.kind, Flag):  # an option of this kind takes no value
        assert headway(COMMANDS[table], f"{each.option}=1")[0] == 2
        return
    for text in [*refused_texts(each.kind), "", " "]:
        option = [f"{each.option}={text}"] if each.option.startswith("-") else ["--", text]
        code, out, err = headway(COMMANDS[table], *option)
        assert (code, out) == (2, "")
        assert f"{each.option} ({each.variable}): " in err
        assert each.kind.accepts in err
        shown = "what it is set to" if getattr(each.kind, "secret", False) else repr(text)[:60]
        assert ("it is empty" if not text.strip() else shown) in err


@pytest.mark.parametrize(
    "each", [each for each in settings_of(ClientSettings) if each.option], ids=lambda each: each.name
)
def test_an_option_of_clients_that_is_empty_is_refused_and_not_the_same_as_none(headway, each):
    for deployment in ((each.option, "", "tasks", "list"), ("tasks", "list", f"{each.option}= ")):
        code, out, err = headway(*deployment)
        assert (code, out, "is empty" in err) == (2, "", True)


@pytest.mark.parametrize("table", COMMANDS)
def test_each_option_of_a_setting_is_one_of_its_command(table):
    command = root.get_command(click.Context(root), COMMANDS[table])
    there = {name for parameter in command.params for name in parameter.opts}
    assert [
        each.option for each in settings_of(table) if each.option.startswith("-") and each.option not in there
    ] == []


def test_values_at_the_ends_of_their_range_are_taken_alike_from_everywhere():
    for table in TABLES:
        for each in settings_of(table):
            if isinstance(each.kind, Whole) and each.variable:
                for value in (each.kind.least, each.kind.most):
                    text = format_ms(value) if isinstance(each.kind, Duration) else str(value)
                    assert getattr(read(table, {each.variable: text}, {}), each.name) == value
                    assert getattr(table(**{each.name: value}), each.name) == value


def test_bare_numbers_of_variables_in_milliseconds_are_milliseconds_and_options_need_a_unit(headway):
    assert config.from_environment({"HEADWAY_LEASE_MS": "1500"}).lease_ms == 1_500
    assert config.from_environment({"HEADWAY_LEASE_MS": "2s"}).lease_ms == 2_000
    assert "is not a duration from" in headway("serve", "--lease", "1500")[2]


def test_sizes_and_flags_are_read_as_people_write_them():
    read_so = config.from_environment(
        {"HEADWAY_BODY_MAX": "16 MiB", "HEADWAY_ACCESS_LOG": "On", "HEADWAY_UPLOAD_MAX": "2GB"}
    )
    assert (read_so.body_max, read_so.upload_max, read_so.access_log) == (16 << 20, 2 * 10**9, True)


def test_a_secret_that_is_refused_is_not_shown():
    for name in ("HEADWAY_SECRET", "HEADWAY_EARLIER_SECRETS"):
        with pytest.raises(ValueError, match="at least 32 characters") as refused:
            config.from_environment({name: "hunter2"})
        assert "hunter2" not in str(refused.value)


KUBERNETES = {
    "HEADWAY_PORT": "tcp://10.0.0.7:8006", "HEADWAY_SERVICE_HOST": "10.0.0.7", "HEADWAY_SERVICE_PORT": "8006",
    "HEADWAY_SERVICE_PORT_HTTP": "8006", "HEADWAY_PORT_8006_TCP": "tcp://10.0.0.7:8006", "HEADWAY_PORT_8006_TCP_PROTO": "tcp",
    "HEADWAY_PORT_8006_TCP_PORT": "8006", "HEADWAY_PORT_8006_TCP_ADDR": "10.0.0.7", "HEADWAY_DB_PORT": "tcp://10.0.0.8:5432",
    "HEADWAY_DB_SERVICE_HOST": "10.0.0.8", "HEADWAY_DB_PORT_5432_TCP": "tcp://10.0.0.8:5432",
}  # fmt: skip


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_port_and_only_that_is_told():
    assert config.from_environment(KUBERNETES) == Settings()
    (told,) = config.environment_warnings(KUBERNETES)
    assert told.startswith("HEADWAY_PORT is ignored")
    assert "enableServiceLinks" in told


def test_a_variable_that_is_no_setting_is_told_with_the_one_that_was_meant():
    assert config.environment_warnings({"HEADWAY_PROT": "1"}) == [
        "HEADWAY_PROT is no setting of Headway: did you mean HEADWAY_PORT?"
    ]
    assert config.environment_warnings({"HEADWAY_KEYFILE": "x"})[0].endswith("did you mean HEADWAY_KEY_FILE?")
    assert config.environment_warnings({"HEADWAY_XYLOPHONE": "x"})[0].endswith("has no effect")


def test_known_variables_those_of_others_and_those_of_tests_are_not_told():
    known = dict.fromkeys(config.variables(), "1")
    assert (
        config.environment_warnings(
            {**known, "HEADWAY_TEST_MARK": "1", "HEADWAY_BENCH_PORT": "1", "HEADWAY_FAIL_POINT": "", "PATH": ""}
        )
        == []
    )


def test_the_variables_that_are_read_anywhere_are_in_the_tables():
    """Each variable that the code names is a setting: another one would be reported as a mistake of the user's."""
    from pathlib import Path

    source = "\n".join(path.read_text() for path in Path(config.__file__).parent.rglob("*.py"))
    named = set(re.findall(r"\bHEADWAY_[A-Z][A-Z_]*[A-Z]", source))
    ours = {"HEADWAY_FAIL_POINT"}
    assert {name for name in named - ours - config.variables() if config.environment_warnings({name: "x"})} == set()


def test_a_worker_reads_its_settings_from_the_environment_too(headway, monkeypatch):
    monkeypatch.setenv(variable("capacity"), "0")
    code, _, err = headway("worker", "some:app")
    assert (code, "HEADWAY_CAPACITY (--capacity): '0' is not a whole number from 1 to 100000" in err) == (2, True)
    monkeypatch.setenv(variable("capacity"), "")
    code, _, err = headway("worker")
    assert (code, "as MODULE:APP or in HEADWAY_APP" in err) == (2, True)


@pytest.mark.parametrize(
    "options", [["--capacity", "0"], ["--threads", "0"], ["--processes", "x"], ["--ray-capacity", "-1"]]
)
def test_a_worker_process_with_unusable_settings_ends_with_the_code_that_is_not_tried_again(options):
    from headway.worker.processes.exits import UNUSABLE_CODE

    program = [sys.executable, "-m", "headway.worker", "http://127.0.0.1:9", "some:app", *options]
    done = subprocess.run(
        program,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == UNUSABLE_CODE
    assert "is not a whole number from" in done.stderr


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_key_file_is_called_empty(headway, tmp_path, content):
    file = tmp_path / "key"
    file.write_text(content)
    file.chmod(0o600)
    code, _, err = headway("tasks", "list", "--key-file", str(file))
    assert (code, f"the key file {file} is empty" in err) == (2, True)
