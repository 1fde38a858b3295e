"""Handlers for files, and for the runs that import and export them; and their routes."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from headway.errors import UnsupportedMediaType
from headway.features.tables.definitions import Tables
from headway.features.tables.files import Files
from headway.features.tables.model import StoredFile
from headway.features.tables.records import Records
from headway.protocol import runs as run_wire
from headway.protocol import tables as wire
from headway.protocol.runs import Strict
from headway.protocol.times import to_text
from headway.web import body
from headway.web.call import Call
from headway.web.reply import ALWAYS, NO_CONTENT, Reply, encode, json
from headway.web.route import Route, route
from headway.web.runs import accepted

_KIND: Final = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)


class UploadFile(Strict, kw_only=True, frozen=True):
    """POST /v1/files."""

    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/\\]+$")] = "upload"
    """Name of the file; its ending gives the format: .csv, .json or .jsonl."""


def file_out(file: StoredFile) -> wire.FileOut:
    """Return a file as the API shows it."""
    return wire.FileOut(
        id=file.id,
        name=file.name,
        kind=file.kind,
        bytes=file.bytes,
        sha256=file.sha256,
        run_id=file.run_id,
        created_at=to_text(file.created_at),
        expires_at=to_text(file.expires_at),
        url=f"/v1/files/{file.id}",
    )


async def upload(call: Call) -> Reply:
    """POST /v1/files: the body is the file, whatever its type.

    Errors: `payload_too_large`, `unsupported_media_type`, `storage_full`, `draining`.
    """
    call.refuse_if_draining()
    if call.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("compressed bodies are not supported: send it uncompressed")
    kind = call.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    kind = kind if _KIND.fullmatch(kind) else "application/octet-stream"
    pieces = body.pieces(call.receive, call.headers, call.server.settings.upload_max)
    file = await call.services.get(Files).receive(call.parameters(UploadFile).name, kind, pieces)
    return json(file_out(file), 201, (b"location", f"/v1/files/{file.id}".encode()))


async def list_files(call: Call) -> Reply:
    """GET /v1/files: list the newest files."""
    return json(wire.FileList(data=[file_out(file) for file in await call.services.get(Files).list()]))


async def get(call: Call) -> Reply:
    """GET /v1/files/{file}: get a file.

    Errors: `file_not_found`.
    """
    return json(file_out(await call.services.get(Files).get(call.arguments["file"])))


async def delete(call: Call) -> Reply:
    """DELETE /v1/files/{file}: remove a file.

    Errors: `file_not_found`.
    """
    await call.services.get(Files).delete(call.arguments["file"])
    return NO_CONTENT


async def content(call: Call) -> Reply | None:
    """GET /v1/files/{file}/content: to be saved and not shown, since anyone may have written it.

    Errors: `file_not_found`.
    """
    file = await call.services.get(Files).get(call.arguments["file"])
    headers = [
        *ALWAYS,
        (b"content-type", file.kind.encode()),
        (b"content-length", b"%d" % file.bytes),
        (b"content-disposition", f"attachment; filename*=UTF-8''{quote(file.name, safe='')}".encode()),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"x-request-id", call.request_id),
    ]
    call.status = 200
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    if call.method != "HEAD":
        async for piece in call.services.get(Files).content(file):
            await call.send({"type": "http.response.body", "body": piece, "more_body": True})
    await call.send({"type": "http.response.body", "body": b""})
    return None


async def begin_import(call: Call) -> Reply:
    """POST /v1/tables/{table}:import: import an uploaded file, as a run.

    Errors: `table_not_found`, `unknown_task`, `task_inactive`, `idempotency_key_reused`, `storage_full`,
    `overloaded`, `draining`, `file_not_found`.
    """
    asked = call.asked(wire.ImportFile)
    table = await call.services.get(Tables).get(call.arguments["table"])
    await call.services.get(Files).get(asked.file)
    return await _start(call, "headway.import", replace(asked, table=table.id), f"import into {table.name}")


async def begin_export(call: Call) -> Reply:
    """POST /v1/tables/{table}:export: export records into a file, as a run.

    Errors: `table_not_found`, `unknown_task`, `task_inactive`, `idempotency_key_reused`, `storage_full`,
    `overloaded`, `draining`.
    """
    asked = call.asked(wire.ExportTable)
    table = await call.services.get(Tables).get(call.arguments["table"])
    call.services.get(Records).condition(table, asked.filter)
    return await _start(call, "headway.export", replace(asked, table=table.id), f"export of {table.name}")


async def _start(call: Call, task: str, asked: msgspec.Struct, name: str) -> Reply:
    call.refuse_if_draining()
    spec = run_wire.StartRun(task=task, input=msgspec.Raw(encode(asked)), name=name)
    return accepted(await call.services.runs.start(spec, call.request_key()))


_FILE: Final = ("file_not_found",)
_START: Final = (
    "table_not_found",
    "unknown_task",
    "task_inactive",
    "idempotency_key_reused",
    "storage_full",
    "overloaded",
    "draining",
)

ROUTES: Final[tuple[Route, ...]] = (
    route("POST", "/v1/files", upload, "record:write", "Upload a file to be imported.", raw=True,
          query=UploadFile, gives=wire.FileOut, status=201,
          problems=("payload_too_large", "unsupported_media_type", "storage_full", "draining")),
    route("GET", "/v1/files", list_files, "record:read", "List the newest files.", gives=wire.FileList),
    route("GET", "/v1/files/{file}", get, "record:read", "Get a file.", gives=wire.FileOut, problems=_FILE),
    route("GET", "/v1/files/{file}/content", content, "record:read", "Download a file.", gives_way=True,
          problems=_FILE, kind="application/octet-stream"),
    route("DELETE", "/v1/files/{file}", delete, "record:write", "Remove a file.", status=204, problems=_FILE,
          logged="file.delete"),
    route("POST", "/v1/tables/{table}:import", begin_import, "record:write", "Import an uploaded file, as a run.",
          takes=wire.ImportFile, gives=run_wire.RunOut, status=202, also=(200,), headers=("Idempotency-Key",),
          problems=(*_START, *_FILE),
          logged="table.import"),
    route("POST", "/v1/tables/{table}:export", begin_export, "record:read", "Export records into a file, as a run.", gives_way=True,
          takes=wire.ExportTable, optional=True, gives=run_wire.RunOut, status=202, also=(200,),
          headers=("Idempotency-Key",), problems=_START,
          logged="table.export"),
)  # fmt: skip
"""Routes of files, imports and exports."""
