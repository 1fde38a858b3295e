"""The baseline of status reads: a Starlette route that answers a run that it need not look up, on the same server.

python bare.py PORT DOCUMENT [PATH]
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

DOCUMENT = msgspec.json.decode(Path(sys.argv[2]).read_bytes())


async def get(request: Request) -> Response:
    """Encode the run, as a server has to."""
    return Response(
        msgspec.json.encode(DOCUMENT),
        media_type="application/json",
        headers={"x-request-id": request.path_params["id"]},
    )


PATH = sys.argv[3] if len(sys.argv) > 3 else "/v1/runs/{id}"
app = Starlette(routes=[Route(PATH, get)])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), http="httptools", loop="uvloop", access_log=False, log_level="warning")
