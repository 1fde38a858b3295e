"""An import is killed with -9 in its middle: each row of the file is a record once."""

from tests.faults.results import note
from tests.faults.server import Server
from tests.faults.stores import ON_BOTH
from tests.faults.verdict import clean
from tests.faults.waiting import until

import headway

ROWS = 20_000


@ON_BOTH
def test_an_import_that_is_killed_has_each_row_once(deployment):
    server = Server(deployment, "--lease", "3s").start()
    content = "Key,N\n" + "".join(f"k{n},{n}\n" for n in range(ROWS))
    with headway.Client(deployment.url) as client:
        client.tables.create("things", [{"name": "Key"}, {"name": "N", "type": "number", "indexed": True}])
        run = client.tables.import_file("things", content.encode(), "things.csv")
        for part in (1, 3):
            goal = len(content) * part // 5
            until(lambda goal=goal: client.runs.get(run.id).run.progress.done > goal, 60, "it is under way")
            server.kill()
            server.start()
        assert run.result(timeout=120)["created"] == ROWS
        assert client.runs.get(run.id).run.progress.percent == 100
        assert client.tables.get("things").records == ROWS
        found = [record.values for record in client.tables.records("things", page_size=1000, order_by="N")]
        keys = {record["Key"] for record in found}
        note(
            "kill -9 of the server in the middle of an import", deployment.kind, tries=2, acknowledged=ROWS,
            lost=ROWS - len(keys), doubled=len(found) - len(keys),
        )  # fmt: skip
        assert found == [{"Key": f"k{n}", "N": n} for n in range(ROWS)]
    server.stop()
    assert clean(deployment) == []
