"""Schedules beside functions, with a real server and real workers: what code says, what people say, and both."""

import pytest
from tests.faults.server import Server, WorkerProcess
from tests.faults.waiting import until

APP = """
import headway

app = headway.App()

{schedule}
@app.task
async def tick(n: int = 0) -> int:
    return n
"""


@pytest.fixture
def server(deployment):
    return Server(deployment).start()


class Code:
    """An app that is written anew, and the workers that have begun with it."""

    def __init__(self, deployment, server):
        self.deployment, self.server, self.version = deployment, server, 0

    def work(self, schedule):
        """Begin a worker with this code; return it when it is connected."""
        self.version += 1
        module = f"scheduled_{self.version}"
        (self.deployment.folder / f"{module}.py").write_text(APP.format(schedule=schedule))
        path = f"{self.deployment.folder}:{self.deployment.environment()['PYTHONPATH']}"
        before = self.there()
        worker = WorkerProcess(self.deployment, app=f"{module}:app", PYTHONPATH=path)
        until(lambda: self.there() > before, 30, f"a worker has come\n{self.deployment.logged()[-2000:]}")
        return worker

    def there(self):
        return len([worker for worker in self.server.get("/v1/workers")["data"] if worker["tasks"] == ["tick"]])

    def schedules(self):
        return self.server.get("/v1/schedules")["data"]


def test_a_schedule_lives_in_code_and_with_people(deployment, server):
    code = Code(deployment, server)
    code.work('@app.schedule("every 1s", name="often", input={"n": 7}, overlap="allow")')
    (made,) = code.schedules()
    assert (made["name"], made["task"], made["declared"], made["version"]) == ("often", "tick", True, 1)
    until(lambda: server.counts().get("succeeded", 0) >= 2, 30, "slots have come")
    runs = server.get("/v1/runs?task=tick&state=succeeded")["data"]
    assert {(run["output"], run["run_type"], run["schedule_id"]) for run in runs} == {(7, "schedule", made["id"])}

    code.work('@app.schedule("every 1s", name="often", input={"n": 7}, overlap="allow")')
    assert [(one["id"], one["version"]) for one in code.schedules()] == [(made["id"], 1)], "it is the same one"

    server.call("PATCH", "/v1/schedules/often", {"priority": 9})
    server.post("/v1/schedules/often:pause")
    newer = code.work('@app.schedule("every 2s", name="often", input={"n": 8}, overlap="allow")')
    (changed,) = code.schedules()
    assert (changed["occurrence"], changed["input"], changed["priority"], changed["state"], changed["differs"]) == (
        "every 2s", {"n": 8}, 9, "paused", ["priority"],
    )  # fmt: skip

    server.kill()
    server.start()
    until(lambda: code.there() >= 3, 30, "all workers are back, those of the oldest code too")
    (same,) = code.schedules()
    assert (same["occurrence"], same["version"]) == ("every 2s", changed["version"])

    code.work("")
    (left,) = code.schedules()
    assert (left["declared"], left["state"]) == (False, "paused")
    assert newer.alive


def test_what_was_made_by_hand_is_said_to_the_worker_and_stays(deployment, server):
    code = Code(deployment, server)
    code.work("")
    by_hand = server.post("/v1/schedules", {"name": "often", "task": "tick", "occurrence": "Yearly"})
    code.work('@app.schedule("every 1s", name="often")')
    assert code.schedules() == [by_hand]
    assert "schedule 'often': it was made by hand" in deployment.logged()
