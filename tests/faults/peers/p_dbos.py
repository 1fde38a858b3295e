"""DBOS Transact on PostgreSQL: python p_dbos.py install | submit | work."""

import sys
import threading

import witness
from dbos import DBOS, DBOSClient


@DBOS.workflow(name="task")
async def task(n: int) -> None:
    await witness.work_async(n)


def launch():
    DBOS(
        config={
            "name": "faults", "system_database_url": witness.STORE, "application_version": "1", "executor_id": "one",
            "log_level": "ERROR",
        }
    )  # fmt: skip
    DBOS.launch()
    DBOS.register_queue("q", worker_concurrency=100)


if __name__ == "__main__":
    if sys.argv[1] == "submit":
        client = DBOSClient(system_database_url=witness.STORE, application_name="faults")
        witness.submit(lambda n: client.enqueue({"workflow_name": "task", "queue_name": "q", "app_version": "1"}, n))
    else:
        launch()
        if sys.argv[1] == "work":
            threading.Event().wait()
        else:
            DBOS.destroy()
