"""The port of a served model: open before its address is said, and refused in one line."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from rnntrain import using
from rnntrain.errors import UserError
from rnntrain.serving import server
from rnntrain.serving.limits import Limits


def test_whoever_reads_the_address_can_connect_at_once(
    served_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import uvicorn

    reached: list[str] = []

    def run(_: uvicorn.Server, sockets: list[socket.socket]) -> None:
        said = re.search(r"http://([\d.]+):(\d+)", capsys.readouterr().out)
        assert said is not None
        with socket.create_connection((said[1], int(said[2])), timeout=10):
            reached.append(said[0])

    monkeypatch.setattr(uvicorn.Server, "run", run)
    with server.listen("127.0.0.1", 0) as bound:
        server.serve(using.load(served_runs["writes"]), Limits(), bound, only_local=True)
    assert len(reached) == 1


@pytest.mark.parametrize(
    ("host", "port", "says"),
    [("127.0.0.1", 65536, "0 to 65535"), ("192.0.2.1", 0, "choose another port")],
)
def test_an_address_that_cannot_be_had_is_refused_in_one_line(host: str, port: int, says: str) -> None:
    with pytest.raises(UserError, match=says) as refused:
        server.listen(host, port)
    assert "\n" not in str(refused.value)
