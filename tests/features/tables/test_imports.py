"""Imports and exports: each row once, whatever happens in between; what is written is read back as it was."""

import json

import pytest
from tests.features.tables.tables import field, fill, table, values
from tests.harness import declare

from headway.errors import BadImport, InvalidInput, LeaseLost, StoredFileNotFound
from headway.features.tables import files as chunks
from headway.features.tables.built_in_tasks import execute_export, execute_import
from headway.features.tables.exports import Exports
from headway.features.tables.imports import ROWS, Imports
from headway.protocol import workers as wire
from headway.protocol.tables import ExportTable, ImportFile

MAIN = (field("Key", unique=True), field("N", "number"), field("Note"))


async def pieces(content, size=100_000):
    for at in range(0, len(content), size):
        yield content[at : at + size]


async def upload(harness, content, name="a.csv"):
    content = content.encode() if isinstance(content, str) else content
    return await harness.files.receive(name, "text/csv", pieces(content))


async def begun(harness, task, given):
    """Start a run of a built-in task and claim it; return it, and its worker."""
    asked = wire.RegisterWorker(tasks=[declare(task, queue="headway")], queues=["headway"])
    worker = (await harness.workers.register(asked, built_in=True)).id
    run = await harness.start(task, given, queue="headway")
    await harness.claim(worker, 1)
    return await harness.runs.get(run.id), worker


async def imported(harness, content, *, name="a.csv", **spec):
    file = await upload(harness, content, name)
    run, _ = await begun(harness, "headway.import", {"table": "things", "file": file.id, **spec})
    output = json.loads(bytes(await execute_import(harness.service, run)))
    return output, await refused(harness, run)


async def refused(harness, run):
    found, _ = await harness.store.read.results(run.id, 0, 1000)
    return [
        (line["row"], [error["field"] for error in line["errors"]])
        for line in (json.loads(result.value) for result in found)
    ]


async def exported(harness, name="things", **spec):
    run, _ = await begun(harness, "headway.export", {"table": name, **spec})
    output = json.loads(bytes(await execute_export(harness.service, run)))
    file = await harness.files.get(output["file"])
    content = b"".join([piece async for piece in harness.files.content(file)])
    assert len(content) == file.bytes == output["bytes"]
    return content, file


async def test_rows_become_records_and_bad_ones_are_kept_with_their_reasons(harness):
    await table(harness, *MAIN)
    content = '\ufeffKey,N,Note\r\na,1,"x, ""y""\nz"\r\n\r\nb,no,\r\na,2,twice\r\nc,,\r\nd,1,2,3\r\n'
    output, wrong = await imported(harness, content)
    assert output == {"rows": 5, "created": 2, "updated": 0, "refused": 3}
    assert await values(harness) == [{"Key": "a", "N": 1, "Note": 'x, "y"\nz'}, {"Key": "c"}]
    assert wrong == [(2, ["N"]), (3, ["Key"]), (5, [""])]


async def test_upsert_changes_what_is_there_and_of_two_rows_the_later_counts(harness):
    await table(harness, *MAIN)
    await fill(harness, {"Key": "a", "N": 1, "Note": "stays"})
    output, wrong = await imported(harness, "Key,N\na,2\nb,3\nb,4\na,5\n", upsert_by="Key")
    assert (output, wrong) == ({"rows": 4, "created": 1, "updated": 3, "refused": 0}, [])
    assert await values(harness) == [{"Key": "a", "N": 5, "Note": "stays"}, {"Key": "b", "N": 4}]


@pytest.mark.parametrize(
    ("name", "content", "more"),
    [
        ("a.json", '\ufeff[{"Key": "a", "N": 1.5}, {"Key": "ö", "Note": null}\n]', {}),
        ("a.jsonl", '{"Key": "a", "N": 1.5}\n\n{"Key": "ö"}', {}),
        ("a.tsv", "Key\tN\na\t1.5\nö\t\n", {}),
        ("a.txt", "Schlüssel;Zahl;Rest\na;1.5;x\nö;;y\n".encode("cp1252"),
         {"delimiter": ";", "encoding": "windows-1252", "columns": {"Schlüssel": "Key", "Zahl": "field_2"}, "ignore_unknown": True}),
    ],
)  # fmt: skip
async def test_files_of_every_kind_are_read(harness, name, content, more):
    await table(harness, *MAIN)
    output, wrong = await imported(harness, content, name=name, **more)
    assert (output["created"], wrong) == (2, [])
    assert await values(harness) == [{"Key": "a", "N": 1.5}, {"Key": "ö"}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "Key,Nmbr\na,1\n", "the column 'Nmbr' is no field"),
        ("a.csv", "Key,field_1\na,1\n", "two columns"),
        ("a.csv", "Key\na\n".encode("utf-16"), "save it as UTF-8"),
        ("a.csv", b"Key\n\xff\n", "its encoding can be said"),
        ("a.csv", 'Key\n"a\n', "no CSV"),
        ("a.json", '[{"Key": "a"}, {"Key": ]', "no JSON"),
        ("a.jsonl", "[1]\n", "no object"),
        ("a.xlsx", "PK", "give the format"),
    ],
)
async def test_a_file_that_cannot_be_read_says_why(harness, name, content, said):
    await table(harness, *MAIN)
    with pytest.raises(BadImport, match=said):
        await imported(harness, content, name=name)


@pytest.mark.parametrize(
    "content",
    [
        "Key,N,Note\n,,\na,1,\n,,\n,,\nb,2,\n,,\n",
        ",,\n\nKey,N,Note\na,1,\nb,2,\n\n\n",
        "Key,N\ra,1\rb,2\r",
        "Key,N\ra,1\rb,2",
        "Key,N\r\na,1\r\nb,2\r\n",
        "sep=;\r\nKey;N\r\na;1\r\nb;2\r\n",
        '\ufeff"sep=;"\nKey;N\na;1\nb;2\n',
        "sep=\t\rKey\tN\ra\t1\rb\t2\r",
        "Key;N\na;1\nb;2\n",
        "\nKey\tN\na\t1\nb\t2\n",
        "Key|N\na|1\nb|2\n",
        "Key,N,\na,1,\nb,2,\n",
        "Key,N,,\na,1\nb,2,,,,\n",
        "KEY, n\na,1\nb,2\n",
        "key\xa0,N\na,1\nb,2\n",
    ],
)
async def test_csv_is_read_as_spreadsheets_of_every_kind_write_it(harness, content):
    await table(harness, *MAIN)
    output, wrong = await imported(harness, content)
    assert (output, wrong) == ({"rows": 2, "created": 2, "updated": 0, "refused": 0}, [])
    assert await values(harness) == [{"Key": "a", "N": 1}, {"Key": "b", "N": 2}]


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n"])
async def test_lines_end_as_they_do_wherever_a_part_of_the_file_is_cut(harness, ending, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 7)
    monkeypatch.setattr("headway.features.tables.imports.PARTS", (1, 6))
    monkeypatch.setattr("headway.features.tables.rules.formats.ROW_BYTES_MAX", 42)
    await table(harness, *MAIN)
    lines = ["Key,N,Note", "", *(f'k{n},{n},"{ending}{n}"' for n in range(12)), ",,", "z,x,"]
    output, wrong = await imported(harness, ending.join(lines) + ending)
    assert output == {"rows": 13, "created": 12, "updated": 0, "refused": 1}
    assert [each["Note"] for each in await values(harness)] == [f"{ending}{n}" for n in range(12)]
    assert wrong == [(13, ["N"])]


async def test_a_row_that_is_refused_is_named_by_its_line(harness):
    await table(harness, *MAIN)
    content = 'sep=,\n\nKey,N,\n"a\nb",1,\n,,\nc,x,\nd,1,lost\ne,1,,lost\nf\n'
    file = await upload(harness, content)
    run, _ = await begun(harness, "headway.import", {"table": "things", "file": file.id})
    await execute_import(harness.service, run)
    found, _ = await harness.store.read.results(run.id, 0, 1000)
    told = [json.loads(each.value) for each in found]
    assert [(each["row"], each["line"], each["errors"][0]["message"].partition(";")[0]) for each in told] == [
        (2, 7, "N is 'x'"),
        (3, 8, "has 'lost' in column 3, which has no name in the header"),
        (4, 9, "has 4 cells, and the header has 3"),
    ]
    assert await values(harness) == [{"Key": "a\nb", "N": 1}, {"Key": "f"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Key,N,Key\na,1,b\n", "two columns are of one field: 'Key' is there twice"),
        ("Key,N,KEY \na,1,b\n", "the column 'KEY' is no field of 'things'"),
        ("key,N,KEY\na,1,b\n", "two columns are of one field: 'key' and 'KEY' are both 'Key'"),
        ("Key,field_1\na,b\n", "two columns are of one field: 'Key' and 'field_1' are both 'Key'"),
        ('Key,N\na,1\nb,"2\nc,3\n', "line 3: this is no CSV: a quote is left open in the row that begins here"),
        ('Key,N\na,1\n\nb,"2"2\n', "line 4: this is no CSV"),
        ("Key,N\n".encode("utf-16-le"), "bytes a character"),
        ("Key,N\n".encode("utf-32-be"), "bytes a character"),
        ("\ufeffKey,N\n".encode("utf-16-be"), "the file is UTF-16"),
        ("Key;Nmbr\na;1\n", "the column 'Key;Nmbr' is no field"),
    ],
)
async def test_what_is_wrong_with_a_csv_file_is_said_in_the_words_of_the_file(harness, content, said):
    await table(harness, *MAIN)
    with pytest.raises(BadImport) as failed:
        await imported(harness, content)
    assert said in str(failed.value)


async def test_a_column_beside_the_one_that_is_spelt_as_the_field_is_passed_over(harness):
    await table(harness, *MAIN)
    output, _ = await imported(harness, "key,Key,N\nx,a,1\n", ignore_unknown=True)
    assert (output["created"], await values(harness)) == (1, [{"Key": "a", "N": 1}])


async def test_a_file_of_another_encoding_than_its_mark_says_is_refused(harness):
    await table(harness, *MAIN)
    with pytest.raises(BadImport, match="begins as UTF-8 does"):
        await imported(harness, "\ufeffKey\na\n", encoding="windows-1252")


async def test_a_cell_that_is_too_long_and_one_with_nul_are_refused_with_their_row_alone(harness):
    await table(harness, *MAIN)
    content = f"Key,N\n{'x' * 200_000},1\na,1\nb\0c,1\n"
    output, wrong = await imported(harness, content)
    assert (output["created"], wrong) == (1, [(1, ["Key"]), (3, ["Key"])])


async def test_two_members_of_one_field_are_refused(harness):
    await table(harness, *MAIN)
    output, wrong = await imported(harness, '{"Key": "a", "field_1": "b"}\n{"Key": "c"}\n', name="a.jsonl")
    assert (output["created"], wrong) == (1, [(1, [""])])


async def test_too_many_bad_rows_end_an_import(harness):
    await table(harness, *MAIN)
    content = "Key,N\n" + "".join(f"k{n},x\n" for n in range(ROWS + 5))
    with pytest.raises(BadImport, match=f"{ROWS} of {ROWS} rows"):
        await imported(harness, content, errors_max=10)
    with pytest.raises(InvalidInput):
        await imported(harness, content, upsert_by="N")


async def test_an_import_that_is_broken_off_anywhere_goes_on_and_has_each_row_once(harness):
    await table(harness, *MAIN)
    rows = 3 * ROWS + 17
    file = await upload(harness, "Key,N\n" + "".join(f"k{n},{n}\n" for n in range(rows)))
    run, worker = await begun(harness, "headway.import", {"table": "things", "file": file.id})
    spec = ImportFile(table="things", file=file.id)
    for _ in range(2):  # an attempt does one chunk, and is gone
        done = await harness.services.get(Imports).begin(run, spec)
        await harness.services.get(Imports).chunk(run, spec, done)
        old = run
        await harness.report(worker, wire.ReleasedReport(run_id=run.id, epoch=run.epoch))
        await harness.claim(worker, 1)
        run = await harness.runs.get(run.id)
        with pytest.raises(LeaseLost):
            await harness.services.get(Imports).chunk(old, spec, done)
    output = json.loads(bytes(await execute_import(harness.service, run)))
    assert output == {"rows": rows, "created": rows, "updated": 0, "refused": 0}
    found = await harness.tables.get("things")
    assert found.count == rows
    after = await harness.runs.get(run.id)
    assert (after.progress_done, after.progress_total) == (file.bytes, file.bytes)


async def test_an_export_that_is_broken_off_goes_on_where_it_stood(harness, monkeypatch):
    monkeypatch.setattr("headway.features.tables.exports.RECORDS", 10)
    await table(harness, *MAIN)
    await fill(harness, *({"Key": f"k{n}", "N": n} for n in range(35)))
    run, worker = await begun(harness, "headway.export", {"table": "things"})
    spec = ExportTable(table="things")
    for _ in range(3):
        done = await harness.services.get(Exports).begin(run, spec)
        await harness.services.get(Exports).chunk(run, spec, done)
        await harness.report(worker, wire.ReleasedReport(run_id=run.id, epoch=run.epoch))
        await harness.claim(worker, 1)
        run = await harness.runs.get(run.id)
    output = json.loads(bytes(await execute_export(harness.service, run)))
    file = await harness.files.get(output["file"])
    content = b"".join([piece async for piece in harness.files.content(file)])
    assert content.decode().split("\r\n") == ["Key,N,Note", *(f"k{n},{n}," for n in range(35)), ""]


NASTY = [
    "=1+1",
    "'=1",
    "+1",
    "-x",
    "@a",
    "\tx",
    "\rx",
    "''",
    "'",
    "a",
    'q"',
    "a,b",
    "l\r\nl",
    "\ufeffx",
    "ö",
    "\U0001f600",
    "; ",
    " s ",
]


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
async def test_what_was_exported_is_imported_as_it_was(harness, form):
    fields = (*MAIN, field("B", "boolean"), field("L", "multi_choice", choices=["x", "y, z"]), field("T", "date_time"))
    await table(harness, *fields)
    rows = [{"Key": f"{n}", "Note": text} for n, text in enumerate(NASTY)]
    rows += [{"Key": "all", "N": -0.5, "B": False, "L": ["x", "y, z"], "T": "2026-01-01T00:00:00Z"}, {"N": 1e-20}]
    await fill(harness, *rows)
    content, file = await exported(harness, format=form, bom=form == "csv")
    assert file.name == f"things.{form}"
    before = await values(harness)
    await table(harness, *fields, name="others")
    output, wrong = await imported_into(harness, "others", content, file.name)
    assert (output["refused"], wrong) == (0, [])
    assert await values(harness, "others") == before
    assert content == (await exported(harness, "others", format=form, bom=form == "csv"))[0]


async def imported_into(harness, name, content, called):
    file = await upload(harness, content, called)
    run, _ = await begun(harness, "headway.import", {"table": name, "file": file.id})
    return json.loads(bytes(await execute_import(harness.service, run))), await refused(harness, run)


async def test_nothing_in_an_exported_file_is_a_formula(harness):
    await table(harness, *MAIN)
    await fill(harness, {"Key": "a", "Note": "=HYPERLINK(1)", "N": -1}, {"Key": "b", "Note": "@x"})
    content, _ = await exported(harness)
    assert content.decode() == "Key,N,Note\r\na,-1,'=HYPERLINK(1)\r\nb,,'@x\r\n"
    plain, _ = await exported(harness, spreadsheet_safe=False, fields=["Note"], filter={"field": "Key", "value": "b"})
    assert plain.decode() == "Note\r\n@x\r\n"


async def test_a_field_whose_name_is_a_formula_is_exported_safely_and_imported_again(harness):
    fields = (field("=Total"), field("\uff20", "number"), field("'-x"))
    await table(harness, *fields)
    await fill(harness, {"=Total": "\n=1+1", "\uff20": -5, "'-x": "\uff1d1"})
    content, file = await exported(harness)
    assert content.decode() == "'=Total,'\uff20,''-x\r\n\"'\n=1+1\",-5,'\uff1d1\r\n"
    before = await values(harness)
    await table(harness, *fields, name="others")
    output, _ = await imported_into(harness, "others", content, file.name)
    assert (output["created"], output["refused"]) == (1, 0)
    assert await values(harness, "others") == before


async def test_a_file_comes_in_chunks_and_is_read_from_anywhere(harness, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1000)
    content = bytes(range(256)) * 40
    file = await upload(harness, content)
    assert (file.bytes, file.chunks) == (len(content), 11)
    assert await harness.files.read(file, 4999, 2) == content[4999:6000]
    assert await harness.files.read(file, len(content), 2) == b""
    assert [found.id for found in await harness.files.list()] == [file.id]


async def test_an_upload_that_breaks_off_leaves_nothing(harness):
    async def broken():
        yield b"x" * 300_000
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await harness.files.receive("a", "text/csv", broken())
    assert await harness.files.list() == []
    await chunks.prune(harness.store)
    assert harness.sql("SELECT count(*) FROM file_chunks") == harness.sql("SELECT count(*) FROM files") == [(0,)]


async def test_files_go_when_their_time_is_over(harness):
    file = await upload(harness, b"x" * 600_000)
    await harness.advance(chunks.KEEP_MS - 1)
    assert (await harness.files.get(file.id)).bytes == 600_000
    await harness.advance(1)
    with pytest.raises(StoredFileNotFound):
        await harness.files.get(file.id)
    other = await upload(harness, b"y")
    await harness.files.delete(other.id)
    assert harness.sql("SELECT count(*) FROM file_chunks") == [(0,)]
