"""`rnntrain serve` as it is typed: real sockets, many clients, clients that leave, ports that are taken."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from commandline import environment

from rnntrain import using

Runs = dict[str, Path]


@pytest.fixture(scope="module")
def address(served_runs: Runs) -> Iterator[str]:
    """Serve the run that writes in a process of its own; return where."""
    command = [sys.executable, "-m", "rnntrain", "serve", str(served_runs["writes"]), "--port", "0", "threads=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as run:
        try:
            assert run.stdout is not None
            assert run.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", run.stdout.readline())
            assert found is not None, run.stderr.read()
            yield found[0]
            run.send_signal(signal.SIGINT)
            assert run.wait() == 0
            assert run.stderr.read() == ""
        finally:
            run.kill()


def sample(address: str, **asked: object) -> str:
    answer = httpx.post(f"{address}/sample", json=asked, timeout=60)
    assert answer.status_code == 200
    return str(answer.json()["text"])


def test_thirty_two_clients_at_once_each_get_their_own_text(address: str, served_runs: Runs) -> None:
    run = using.load(served_runs["writes"])
    with ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(lambda seed: sample(address, prompt="the", length=50, seed=seed), range(32)))
    assert texts == [run.sample("the", length=50, seed=seed)[3:] for seed in range(32)]
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    counts = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(counts["rnntrain_draw_steps_total"]) < float(counts["rnntrain_tokens_total"])  # drawn together


def test_a_client_that_leaves_is_drawn_no_further(address: str) -> None:
    asked = {"prompt": "the", "length": 10_000, "stream": True}
    with httpx.stream("POST", f"{address}/sample", json=asked, timeout=60) as answer:
        assert answer.status_code == 200
        first = next(answer.iter_lines())
        assert json.loads(first.removeprefix("data: "))["text"]
    assert sample(address, length=5)  # the server lives
    for _ in range(200):  # each request lets the one that was left be seen
        if "rnntrain_texts_drawing 0" in httpx.get(f"{address}/metrics").text:
            return
    pytest.fail("the text is still being drawn")


def test_a_connection_closed_within_a_body_disturbs_nobody(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    for half in (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"GET / HT",
        b"\x00\xff",
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(half)
    assert sample(address, length=5)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 30_000 + b"\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["a header", "many headers", "a path", "two hosts", "no host", "a length below nothing"],
)
def test_a_head_beyond_all_measure_or_sense_is_refused(address: str, head: bytes) -> None:
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        with suppress(OSError):  # it may hang up before it has read all
            connection.sendall(head)
        with suppress(ConnectionResetError):
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert sample(address, length=5)


def test_a_port_in_use_is_one_line(address: str, served_runs: Runs, run_cli) -> None:
    port = address.rpartition(":")[2]
    answer = run_cli("serve", str(served_runs["writes"]), "--port", port)
    assert answer.code == 2
    assert f"--port {port}: address already in use; choose another port" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "99999"], "--port 99999"),
        (["--host", "203.0.113.1"], "--host 203.0.113.1"),
        (["--host", "no such host"], "--host no such host"),
        (["--max-inputs", "0"], "--max-inputs=0"),
        (["--timeout-seconds", "-1"], "--timeout-seconds=-1"),
        (["--port", "many"], "--port"),
    ],
)
def test_a_wrong_option_is_refused_before_the_model_is_loaded(
    served_runs: Runs, run_cli, words: list[str], said: str
) -> None:
    answer = run_cli("serve", str(served_runs["writes"]), *words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_what_is_no_run_is_refused(run_cli, tmp_path: Path) -> None:
    assert run_cli("serve", str(tmp_path)).code == 2
