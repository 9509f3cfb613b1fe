"""Asks a served model in the process of the server, without a socket: one hostile request, then a good one."""

from __future__ import annotations

import json
from pathlib import Path

from faults.hostile_files import wav
from faults.hostile_http import REQUESTS, content_of

GOOD = {
    "classifies": ("/predict", {"json": {"inputs": ["good day"]}}),
    "forecasts": ("/predict", {"json": {"inputs": [[float(n % 5) for n in range(48)]]}}),
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
    headers = {**({"content-type": asked.kind} if asked.kind else {}), **asked.headers}
    service = Service(using.load(Path(run)), Limits())
    with service.worker, TestClient(application(service), base_url="http://localhost") as client:
        answer = client.request(asked.method, asked.path, content=content_of(asked), headers=headers)
        path, sent = GOOD[asked.model]
        after = client.post(path, **sent)  # type: ignore[arg-type]
    record = {"status": answer.status_code, "headers": dict(answer.headers), "after": after.status_code}
    if answer.status_code != 200:
        record |= answer.json()
    print(json.dumps(record))
    return 0
