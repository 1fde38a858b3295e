"""`headway tables` over a database of the user's own, against a real server: what is left out and what is odd is named."""

import csv
import io
import json
import sqlite3

import pytest
from tests.faults.server import Deployment, Server

from headway.client.sync.client import Client


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("external"))
    server = Server(deployment, HEADWAY_EXTERNAL_FOLDERS=str(deployment.folder)).start()
    with sqlite3.connect(deployment.folder / "shop.db") as database:
        database.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, age REAL, photo JSON, at TIME)")
        database.execute("INSERT INTO people (name, age) VALUES ('Ann', 41.5), ('Bob', 'abc'), ('Cy', NULL)")
    database.close()
    yield server
    server.kill()
    deployment.clean_up()


def test_columns_left_out_and_odd_cells_are_named_where_they_are_looked_at(headway, there):
    to = ("--url", there.deployment.url)
    deployment = f"sqlite:///{there.deployment.folder / 'shop.db'}"
    code, out, err = headway("tables", "create", "people", "--external-url", deployment, "--relation", "people", *to)
    assert (code, "people has 3 fields" in out) == (0, True)
    named = "left out: at: no field takes values of the type TIME\n"
    assert named in err
    assert "left out: photo: no field takes values of the type JSON" in err
    assert named in headway("tables", "show", "people", *to)[2]
    code, out, err = headway("tables", "records", "people", *to)
    assert (code, "abc" in out, "Cy" in out) == (0, True, True)
    assert err == "2: age is 'abc'; it takes a number such as 12.5, without separators of thousands\n"
    found = json.loads(headway("tables", "records", "people", "--json", *to)[1])["data"]
    assert [record["values"]["age"] for record in found] == [41.5, "abc", None]
    assert ["invalid" in record for record in found] == [False, True, False]
    assert "left_out" in headway("tables", "show", "people", "--json", *to)[1]
    with Client(there.deployment.url) as client:
        exported = client.tables.download(client.tables.export("people").result()["file"]).decode()
        assert client.tables.record("people", "2").invalid.keys() == {"age"}
    assert list(csv.reader(io.StringIO(exported))) == [
        ["id", "name", "age"], ["1", "Ann", "41.5"], ["2", "Bob", "abc"], ["3", "Cy", ""],
    ]  # fmt: skip
