"""Asks a served model in the process of the server, without a socket: one hostile request, then a good one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from faults.hostile_files import wav
from faults.hostile_http import REQUESTS, Asked, content_of, hours

PIECE = 1 << 16
GOOD = {
    "classifies": ("/predict", {"json": {"inputs": ["good day"]}}),
    "forecasts": ("/predict", {"content": hours("1.5"), "headers": {"content-type": "text/csv"}}),
    "writes": ("/sample", {"json": {"length": 3}}),
    "hears": ("/predict", {"content": wav(), "headers": {"content-type": "audio/wav"}}),
}


def ask(run: str, name: str) -> int:
    """Print the status, the headers and the message of the answer, and the status of the good request after it."""
    from starlette.testclient import TestClient

    from rnntrain import using
    from rnntrain.serving.api import Service, application
    from rnntrain.serving.limits import Limits

    asked = REQUESTS[name]
    service = Service(using.load(Path(run)), Limits())
    app = application(service)
    with service.worker, TestClient(app, base_url="http://localhost") as client:
        status, headers, content = asyncio.run(_raw(app, asked))
        path, sent = GOOD[asked.model]
        after = client.post(path, **sent)  # type: ignore[arg-type]
    record = {"status": status, "headers": headers, "after": after.status_code}
    if status != 200:
        record |= json.loads(content)
    print(json.dumps(record))
    return 0


async def _raw(app: Any, asked: Asked) -> tuple[int, list[str], bytes]:
    """Ask as the server of HTTP would; a client of HTTP would put many of these requests right."""
    headers = {"host": "localhost", "content-type": asked.kind, **asked.headers}
    path, _, query = asked.path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers.items() if value],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    content = content_of(asked)
    pieces = [content[start : start + PIECE] for start in range(0, len(content), PIECE)] or [b""]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    names = [key.decode("latin-1") for key, _ in sent[0]["headers"]]
    return sent[0]["status"], names, b"".join(message.get("body", b"") for message in sent[1:])


def serve(*words: str) -> int:
    """Call `rnntrain serve` up to where it would open its port."""
    from unittest import mock

    import uvicorn

    from rnntrain.cli import main
    from rnntrain.serving import server

    port = mock.MagicMock()
    port.getsockname.return_value = ("127.0.0.1", 8000)
    with mock.patch.object(server, "listen", return_value=port), mock.patch.object(uvicorn.Server, "run"):
        return int(main(list(words)) or 0)
