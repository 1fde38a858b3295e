"""What a first start does not wait for."""

import re

from tests.faults.server import Server, WorkerProcess
from tests.faults.waiting import until

LATE = {
    "aiohttp", "aiosmtplib", "cryptography", "email.headerregistry", "email.policy", "importlib.resources", "jinja2", "openpyxl",
    "psycopg", "rich", "sqlalchemy", "starlette", "yarl", "zoneinfo", "headway.web.openapi", "headway.outbound.http",
    "headway.outbound.mail", "headway.evaluation.rendering",
}  # fmt: skip
"""What only webhooks, mails, templates, secrets, schedules, other databases, forms and documents need."""

_LOADED = re.compile(r"^import time:.*\| +(\S+)$", re.MULTILINE)


TOLD = {"PYTHONPROFILEIMPORTTIME": "1"}


def test_a_server_and_a_worker_finish_a_first_run_without_loading_what_it_does_not_need(deployment):
    server = Server(deployment, **TOLD).start()
    WorkerProcess(deployment, **TOLD)  # a supervised one says no more than a few lines at once
    server.knows("noop")
    run = server.post("/v1/runs", {"task": "noop"})
    until(lambda: server.run(run["id"])["state"] == "succeeded", 20, "the run is finished")
    loaded = set(_LOADED.findall(deployment.logged()))
    assert {"headway.runs.service", "headway.worker.worker"} <= loaded
    assert sorted(LATE & loaded) == []
