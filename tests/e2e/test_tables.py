"""A table's life by the command line: made, filled from a file, looked at, changed, written into a file, removed."""

import json

from tests.faults.server import Server
from tests.faults.verdict import clean


def test_a_table_from_a_file_and_back(deployment, headway):
    server = Server(deployment).start()
    server.knows("headway.import")
    fields = ["Name::required", "E-mail:email:unique", "Age:number:indexed", "Status:choice:choices=new|active"]
    made = headway(
        "tables", "create", "people", *(part for each in fields for part in ("--field", each.replace("::", ":text:")))
    )
    assert "4 fields" in made
    source = deployment.folder / "people.csv"
    source.write_text(
        "Name,E-mail,Age,Status\nAnn,ann@example.com,41,new\nBob,bob@example.com,x,new\nCid,cid@example.com,7,active\n"
    )
    assert "2 added, 0 changed, 1 refused of 3 rows" in headway("tables", "import", "people", str(source))
    assert "people\t2\t4" in headway("tables", "list")
    listed = json.loads(
        headway("tables", "records", "people", "--where", "Age", ">", "10", "--order", "Age desc", "--json")
    )
    (ann,) = listed["data"]
    assert ann["values"] == {"Name": "Ann", "E-mail": "ann@example.com", "Age": 41, "Status": "new"}
    headway("tables", "update", "people", ann["id"], "Status=active", "Age=")
    headway("tables", "insert", "people", "Name=Dan", code=0)
    assert "Name is required" in headway("tables", "insert", "people", "Age=1", code=2)
    exported = headway(
        "tables", "export", "people", "--where", "Status", "is", "active", "--field", "Name", "--field", "Age"
    )
    assert exported.splitlines() == ["Name,Age", "Ann,", "Cid,7"]
    headway("tables", "remove", "people", ann["id"])
    assert headway("tables", "show", "people").splitlines()[1].split() == ["records", "2"]
    headway("tables", "delete", "people", "--yes")
    assert "no table" in headway("tables", "show", "people", code=5)
    server.stop()
    assert clean(deployment) == []
