"""The clients that the other APIs document, run as they are written: only the host is another."""

import re

import pytest
from tests.compat import seeds
from tests.compat.app import RECORDS, STATISTICS
from tests.compat.clients import HOST, ID, Clients
from tests.faults.server import Deployment, Server
from tests.faults.waiting import until

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
WAIT, PROGRESS = "runTaskAndWait", "runTaskWithProgress"


@pytest.fixture
def place(tmp_path):
    found = Deployment(tmp_path)
    yield found
    found.clean_up()


# -- Tadabase: ten of JavaScript ---------------------------------------------------------------------------------------


def test_a_task_is_run_and_monitored(clients):
    said = clients.javascript(seeds.tadabase("runAndMonitorTask"))
    assert re.search(rf"^Task started\. Queue ID: {UUID}$", said, re.MULTILINE)
    shown = [(int(n), int(of), int(percent)) for n, of, percent in re.findall(r"(\d+)/(\d+) records \((\d+)%\)", said)]
    assert shown == sorted(shown)
    assert shown[-1] == (RECORDS, RECORDS, 100)
    assert said.endswith("Task completed with status: complete\n")


def test_a_task_is_run_and_forgotten(clients):
    assert re.fullmatch(UUID, clients.value(seeds.tadabase("triggerTask"), of="triggerTask('task_abc123')"))


def test_a_task_is_run_and_waited_for(clients):
    assert "Task completed successfully" in clients.javascript(seeds.tadabase(WAIT))
    failed = clients.value(seeds.function(WAIT), of="runTaskAndWait('task_failing')")
    assert (failed["success"], failed["error"]) == (False, "Task failed")
    assert failed["task"]["error"] == "the third record has no address"


def test_a_task_that_is_terminated_natively_ends_the_wait(clients, live):
    waiting = seeds.function(WAIT) + "const waited = runTaskAndWait('task_idle');\n"
    stop = """
    const started = async () => (await (await fetch(`${server}/v1/runs?task=task_idle`)).json()).data[0]?.id;
    let id; while (!(id = await started()));
    await fetch(`${server}/v1/runs/${id}:terminate`, {method: 'POST'});
    """
    live.post("/v1/queues/default:pause")
    try:
        ended = clients.value(waiting, stop, of="waited")
    finally:
        live.post("/v1/queues/default:resume")
    assert (ended["success"], ended["error"], ended["task"]["status"]) == (False, "Task was terminated", "terminated")


def test_progress_is_called_back(clients):
    said = clients.javascript(seeds.tadabase(PROGRESS))
    assert said.endswith(f"Task progress: 100% ({RECORDS}/{RECORDS})\n")


def test_tasks_are_run_in_sequence_until_one_fails(clients):
    said = clients.javascript(seeds.function(WAIT), seeds.tadabase("runTaskSequence"))
    assert said.count("completed successfully") == 3
    assert "Sequence complete:" in said
    names = "['task_1', 'task_failing', 'task_2']"
    results = clients.value(seeds.function(WAIT), seeds.function("runTaskSequence"), of=f"runTaskSequence({names})")
    assert [result["success"] for result in results] == [True, False]


def test_tasks_are_run_in_parallel(clients):
    said = clients.javascript(seeds.tadabase("runTasksParallel"))
    assert len(set(re.findall(UUID, said))) == 3


def test_a_task_is_run_safely(clients, live):
    safely = seeds.tadabase("runTaskSafely")
    assert re.fullmatch(UUID, clients.value(safely, of="runTaskSafely('task_abc123')"))
    for task, why in (("nobodys", "Task nobodys not found"), ("task_idle", "Task task_idle is not active")):
        live.post("/v1/tasks/task_idle:deactivate")
        try:
            said = clients.value(safely, of=f"runTaskSafely('{task}').catch(error => error.message)")
        finally:
            live.post("/v1/tasks/task_idle:activate")
        assert said == why


def test_the_nightly_processing_is_told_of(clients):
    said = clients.javascript(
        seeds.function(WAIT), seeds.tadabase("runNightlyProcessing"), "await runNightlyProcessing();"
    )
    assert f"Processed {RECORDS} records" in said
    assert "notification: Nightly processing completed successfully" in said


def test_an_email_campaign_moves_its_bar(clients):
    said = clients.javascript(
        seeds.function(PROGRESS), seeds.tadabase("launchEmailCampaign"), "await launchEmailCampaign('task_abc123');"
    )
    assert f"Sent {RECORDS}/{RECORDS} emails (100%)" in said
    assert "bar: 100" in said
    assert said.endswith("Email campaign completed\n")


def test_data_are_synchronized_in_sequence(clients):
    assert clients.value(seeds.function(WAIT), seeds.tadabase("syncData"), of="syncData()") is True


def test_who_waits_for_what_could_not_be_started_does_not_wait_for_ever(clients):
    said = clients.value(seeds.function("runAndMonitorTask"), of="runAndMonitorTask('nobodys')")
    assert said == "failed"


# -- CloudCoin: JavaScript, shell and Go -------------------------------------------------------------------------------


@pytest.fixture(params=["javascript", "shell", "go"])
def poll(request, clients):
    """Poll with the client in each language; return what it printed."""
    return getattr(clients, f"in_{request.param}")


ENDS = {
    "completed": r"Task finished successfully!|\"status\": \"completed\"|Task completed successfully\. Result:",
    "error": r"Task failed:|\"status\": \"error\"",
    "unknown": r"HTTP error! status: 404|\"code\": 4105|Task failed: Task does not exist",
}


def command(live, name, /, **given):
    answer = live.post(f"/api/v1/{name}", given)
    assert answer["status"] == "success"
    return answer["payload"]["id"]


def test_a_command_is_polled_to_its_end(live, poll):
    said = poll(command(live, "create-wallet-backup", folder="/srv/coins", tag="7"))
    assert re.search(ENDS["completed"], said)
    assert "/srv/coins/Default7.bin" in said


def test_data_may_be_a_bare_string_or_an_object(live, poll):
    assert re.search(r"\bOK\b", poll(command(live, "consolidate-coins", name="Default")))
    assert STATISTICS["pownstring"] in poll(command(live, "health"))


def test_a_command_that_fails_says_why(live, poll):
    said = poll(command(live, "locker", name="Default", amount=7))
    assert re.search(ENDS["error"], said)
    assert "there are no 7 coins in Default" in said


def test_an_unknown_task_ends_the_polling(poll):
    assert re.search(ENDS["unknown"], poll(ID))


def test_a_running_task_is_polled_until_it_is_through(live, clients):
    """The shell's loop sees it half done, and the gate opens only after that."""
    run_id = command(live, "gated", gate="half")
    half = until(lambda: (found := live.get(f"/get-task-status/{run_id}")["payload"])["progress"] == 50 and found)
    assert (half["status"], half["message"], half["data"]) == ("running", "half of it", None)
    assert until(lambda: live.get(f"/api/task?task_id={run_id}")["data"]) == "ppppppppppppp____________"
    opening = f"curl() {{ command curl \"$@\"; : <> '{live.deployment.folder}/gates/half'; }}\n"
    text = opening + seeds.cloudcoin("shell").replace(HOST, clients.url).replace(ID, run_id)
    said = clients.shell(text)
    assert "Polling... Status: running, Progress: 50%" in said
    assert "Polling... Status: completed, Progress: 100%" in said


# -- across surfaces ---------------------------------------------------------------------------------------------------


def test_a_run_that_one_surface_starts_is_followed_on_the_others_and_stopped_natively(live):
    run_id = command(live, "gated", gate="never")
    queue = f"/api/v1/tasks/status/queue/{run_id}"
    (entry,) = until(lambda: (found := live.get(queue)["tasks"])[0]["total_record_proceed"] and found)
    assert (entry["task_id"], entry["total_records"], entry["total_record_proceed"]) == ("gated", 10, 5)
    assert entry["status"] == "start"
    assert live.run(run_id)["state"] == "running"

    live.post(f"/v1/runs/{run_id}:terminate", {"reason": "enough"})
    assert live.final(run_id)["state"] == "terminated"
    assert live.get(queue)["tasks"][0]["status"] == "terminated"
    ended = live.get(f"/api/v1/tasks/{run_id}")["payload"]
    assert (ended["status"], ended["progress"], ended["message"]) == ("error", 100, "terminated: enough")

    other = live.post("/api/v1/tasks/run/task_abc123")["task_queue_id"]
    done = until(
        lambda: (found := live.get(f"/api/system/tasks?id={other}")["payload"])["status"] != "running" and found
    )
    assert (done["status"], done["data"]) == ("success", RECORDS)


def test_with_keys_tadabases_clients_show_theirs_and_cloudcoins_may_be_let_in_without(place):
    gates = str(place.folder)
    let_in = {"HEADWAY_CLOUDCOIN_LOOPBACK_WITHOUT_KEY": "1"}
    server = Server(place, app="tests.compat.app:app", HEADWAY_TEST_GATES=gates, **let_in).start()
    server.knows("task_abc123")
    made = server.post("/v1/keys", {"name": "shop", "scopes": ["key:admin", "task:read", "run:start", "run:read"]})
    _, key_id, secret = made["key"].split("_", 2)
    names = ("X-Tadabase-App-id", "X-Tadabase-App-Key", "X-Tadabase-App-Secret")
    keyed = Clients(place.folder, place.url, dict(zip(names, (made["organisation"], key_id, secret), strict=True)))
    assert server.call("GET", "/v1/runs").status == 401

    said = keyed.javascript(seeds.tadabase("runAndMonitorTask"))
    assert said.endswith("Task completed with status: complete\n")
    assert "completed successfully" in keyed.javascript(seeds.tadabase(WAIT))
    nobody = Clients(place.folder, place.url)
    refused = nobody.value(seeds.function("triggerTask"), of="triggerTask('task_abc123').then(id => id ?? null)")
    assert refused is None

    run_id = command(server, "join")
    assert re.search(r"\bOK\b", nobody.in_shell(run_id))
    assert re.search(r"\bOK\b", nobody.in_javascript(run_id))
