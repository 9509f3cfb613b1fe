"""The HTTP API: its answers are those of the model, and each refusal is one line with its status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from rnntrain import using
from rnntrain.serving.limits import Limits
from serving.conftest import client_of

JSON = {"content-type": "application/json"}
Runs = dict[str, Path]


def test_predictions_are_those_of_the_model(served_runs: Runs) -> None:
    texts = ["good day", "bad day 7", "", "x" * 3000]
    expected = using.load(served_runs["classifies"]).predict(texts)
    with client_of(served_runs["classifies"]) as client:
        answer = client.post("/predict", json={"inputs": texts})
    assert answer.status_code == 200
    assert answer.json() == {"outputs": expected}


def test_a_table_is_forecast_with_dates_and_bands(served_runs: Runs) -> None:
    table = (served_runs["forecasts"].parent / "hours.csv").read_bytes()
    with client_of(served_runs["forecasts"]) as client:
        answer = client.post("/predict?horizon=9", content=table, headers={"content-type": "text/csv; charset=utf-8"})
    [record] = answer.json()["outputs"]
    assert record["dates"][0] == "2024-01-11T00:00:00"
    assert len(record["dates"]) == len(record["targets"]["load"]["upper"]) == 9


def test_a_sample_is_that_of_the_command_line(served_runs: Runs) -> None:
    expected = using.load(served_runs["writes"]).sample("the", length=40, seed=3)
    asked = {"prompt": "the", "length": 40, "seed": 3}
    with client_of(served_runs["writes"]) as client:
        whole = client.post("/sample", json=asked).json()["text"]
        events = client.post("/sample", json={**asked, "stream": True}).text
    records = [json.loads(event.removeprefix("data: ")) for event in events.strip().split("\n\n")]
    assert "the" + whole == expected
    assert "".join(record.get("text", "") for record in records) == whole
    assert records[-1] == {"done": True}


def test_the_model_and_its_limits_are_told(served_runs: Runs) -> None:
    with client_of(served_runs["forecasts"], Limits(max_inputs=7)) as client:
        about = client.get("/model").json()
    assert (about["task"], about["kind"], about["samples"]) == ("Forecasting", "series", False)
    assert (about["horizon"], about["targets"], about["limits"]["max_inputs"]) == (6, ["load"], 7)


def test_health_and_metrics_say_what_was_done(served_runs: Runs) -> None:
    with client_of(served_runs["classifies"]) as client:
        client.post("/predict", json={"inputs": ["a", "b", "c"]})
        client.post("/predict", content=b"{", headers=JSON)
        assert client.get("/health").json() == {"status": "ok"}
        lines = client.get("/metrics").text.splitlines()
    assert 'rnntrain_requests_total{path="/predict",status="200"} 1' in lines
    assert 'rnntrain_requests_total{path="/predict",status="400"} 1' in lines
    assert "rnntrain_inputs_total 3" in lines
    assert "rnntrain_requests_waiting 0" in lines


# What is sent to /predict of a classifier of texts, and what comes back.
REFUSALS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no JSON": ({"content": b"{", "headers": JSON}, 400, "not JSON"),
    "nested without end": ({"content": b"[" * 9_000, "headers": JSON}, 400, "not JSON"),
    "NaN": ({"content": b'{"inputs": [NaN]}', "headers": JSON}, 400, "NaN"),
    "a list": ({"json": []}, 400, "JSON object"),
    "another key": ({"json": {"input": ["a"]}}, 400, "'input': no such key"),
    "no input": ({"json": {"inputs": []}}, 400, "at least one"),
    "a number for a text": ({"json": {"inputs": ["a", 3]}}, 422, "input 2: expected text, not int"),
    "too many": ({"json": {"inputs": ["a"] * 11}}, 413, "at most 10"),
    "too large": ({"json": {"inputs": ["a" * 20_000]}}, 413, "0.01 MB"),
    "another type": ({"content": b"a,b", "headers": {"content-type": "text/csv"}}, 415, "application/json"),
    "no type": ({"content": b"a"}, 415, "application/json"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_each_mistake_has_its_status_and_one_line(served_runs: Runs, case: str) -> None:
    sent, status, said = REFUSALS[case]
    with client_of(served_runs["classifies"], Limits(max_inputs=10, max_megabytes=0.01)) as client:
        answer = client.post("/predict", **sent)
        assert answer.status_code == status
        [message] = answer.json().values()
        assert said in message
        assert "\n" not in message
        assert client.post("/predict", json={"inputs": ["good"]}).status_code == 200  # nothing else is disturbed


SAMPLE_REFUSALS = {
    "an unknown sign": ({"prompt": "the 漢"}, 422, "漢"),
    "a text for a number": ({"length": "many"}, 422, "length=many"),
    "no token": ({"length": 0}, 422, "length=0"),
    "without end": ({"length": 10**9}, 413, "at most 10,000"),
    "a prompt that is none": ({"prompt": 3}, 400, "prompt must be a text"),
    "another key": ({"beam": 3}, 400, "'beam': no such key"),
}


@pytest.mark.parametrize("case", SAMPLE_REFUSALS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_sample_is_refused_before_it_begins(served_runs: Runs, case: str, stream: bool) -> None:
    asked, status, said = SAMPLE_REFUSALS[case]
    with client_of(served_runs["writes"]) as client:
        answer = client.post("/sample", json={**asked, "stream": stream})
    assert answer.status_code == status
    assert said in answer.json()["error"]


def test_a_model_that_does_not_write_says_so(served_runs: Runs) -> None:
    with client_of(served_runs["classifies"]) as client:
        answer = client.post("/sample", json={})
    assert answer.status_code == 400
    assert "Classification writes no text" in answer.json()["error"]


@pytest.mark.parametrize("horizon", ["0", "-1", "1e9", "99999999999", "ten", "²"])
def test_a_horizon_is_a_number_within_the_limit(served_runs: Runs, horizon: str) -> None:
    with client_of(served_runs["forecasts"]) as client:
        answer = client.post("/predict", params={"horizon": horizon}, json={"inputs": [[1.0]]})
    assert answer.status_code == 400
    assert "whole number from 1" in answer.json()["error"]


def test_many_long_forecasts_along_paths_are_refused_since_they_would_hold_up_all(served_runs: Runs) -> None:
    table = (served_runs["forecasts"].parent / "hours.csv").read_bytes()
    asked = {"content": table, "headers": {"content-type": "text/csv"}}
    with client_of(served_runs["forecasts"], Limits(max_length=20)) as client:
        assert client.post("/predict?horizon=20", **asked).status_code == 200
    times = [f"2024-01-{1 + n // 24:02d}T{n % 24:02d}:00:00" for n in range(30)]
    history = {"values": [[float(n)] for n in range(30)], "times": times}
    with client_of(served_runs["forecasts"], Limits(max_length=20)) as client:
        near = client.post("/predict?horizon=6", json={"inputs": [history] * 4})
        answer = client.post("/predict?horizon=18", json={"inputs": [history] * 2})
    assert near.status_code == 200
    assert answer.status_code == 413
    assert answer.json()["error"].startswith("36 steps in all, beyond the trained horizon: at most 20")


def test_a_table_of_other_columns_names_them(served_runs: Runs) -> None:
    with client_of(served_runs["forecasts"]) as client:
        answer = client.post("/predict", content=b"a,b\n1,2\n3,4\n", headers={"content-type": "text/csv"})
    assert answer.status_code == 422
    assert "table: has no column load" in answer.json()["error"]


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/predict", 405), ("/../pyproject.toml", 404)])
def test_other_paths_are_refused_as_json(served_runs: Runs, path: str, status: int) -> None:
    with client_of(served_runs["classifies"]) as client:
        answer = client.get(path)
    assert answer.status_code == status
    assert "error" in answer.json()


def test_a_name_that_was_made_to_lead_here_is_refused(served_runs: Runs) -> None:
    """A page of another site can make its own name lead to 127.0.0.1 and ask from a visitor's browser."""
    with client_of(served_runs["classifies"]) as client:
        for host in ("example.org", "localhost.example.org:8000", ""):
            assert client.get("/model", headers={"host": host}).status_code == 421
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000"):
            assert client.get("/model", headers={"host": host}).status_code == 200


def test_who_comes_when_all_places_are_taken_is_told_to_come_again(served_runs: Runs) -> None:
    with client_of(served_runs["classifies"], Limits(max_waiting=1)) as client:
        places = client.app.state.service.places
        places.waiting = 1
        answer = client.post("/predict", json={"inputs": ["good"]})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        places.waiting = 0
        assert client.post("/predict", json={"inputs": ["good"]}).status_code == 200


@pytest.mark.parametrize("verb", ["predict", "sample"])
def test_a_body_without_end_is_read_no_further_than_the_limit(
    served_runs: Runs, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    async def endless(self: Request) -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield b"[" * 1000

    monkeypatch.setattr(Request, "stream", endless)
    with client_of(served_runs["writes"], Limits(max_megabytes=0.01)) as client:
        answer = client.post(f"/{verb}", content=b"[", headers=JSON)
        assert answer.status_code == 413
        assert len(read) <= 12
        assert (client.app.state.service.places.waiting, client.app.state.service.places.held) == (0, 0)


@pytest.mark.parametrize("verb", ["predict", "sample"])
def test_a_body_that_does_not_come_is_given_up(served_runs: Runs, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(self: Request) -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    monkeypatch.setattr(Request, "stream", silent)
    with client_of(served_runs["writes"], Limits(timeout_seconds=0.05)) as client:
        answer = client.post(f"/{verb}", content=b"{", headers=JSON)
        assert answer.status_code in (408, 504)
        assert "0.05 s" in answer.json()["error"]
        assert (client.app.state.service.places.waiting, client.app.state.service.places.held) == (0, 0)


def test_bodies_of_all_who_wait_are_bounded_together(served_runs: Runs) -> None:
    with client_of(served_runs["classifies"], Limits(max_megabytes=0.01)) as client:
        places = client.app.state.service.places
        places.held = before = 8 * 10_000 - 5
        answer = client.post("/predict", json={"inputs": ["good"]})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert places.held == before
        places.held = 0
        assert client.post("/predict", json={"inputs": ["good"]}).status_code == 200
        assert places.held == 0


def test_an_input_of_too_many_steps_is_refused(served_runs: Runs) -> None:
    with client_of(served_runs["writes"], Limits(max_steps=10)) as client:
        answers = [
            client.post("/predict", json={"inputs": ["the", "a" * 30]}),
            client.post("/sample", json={"prompt": "t" * 11}),
        ]
    assert [answer.status_code for answer in answers] == [413, 413]
    assert answers[0].json()["error"].startswith("input 2: ")
    assert "steps; at most 10" in answers[0].json()["error"]


@pytest.mark.parametrize("verb", ["predict", "sample"])
def test_an_endless_request_is_given_up(served_runs: Runs, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker never answers, as if the model took for ever."""
    with client_of(served_runs["writes"], Limits(timeout_seconds=0.05)) as client:
        worker = type(client.app.state.service.worker)
        monkeypatch.setattr(worker, "draw", lambda self, text: None)
        monkeypatch.setattr(worker, "ask", lambda self, predictor, examples: Future())
        body = {"inputs": ["the"]} if verb == "predict" else {}
        answer = client.post(f"/{verb}", json=body)
        assert answer.status_code == 504
        assert client.app.state.service.places.waiting == 0


def test_a_fault_of_the_model_is_no_more_than_that(served_runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    """The client learns nothing of the inside, the log does, and the next request is answered."""
    with client_of(served_runs["classifies"]) as client:
        predictor = client.app.state.service.predictor
        run, predictor.run = predictor.run, lambda examples: 1 / 0
        answer = client.post("/predict", json={"inputs": ["good"]})
        assert answer.status_code == 500
        assert answer.json() == {"error": "a fault of the server; its log says more"}
        assert "ZeroDivisionError" in capfd.readouterr().err
        predictor.run = run
        assert client.post("/predict", json={"inputs": ["good"]}).status_code == 200


def test_the_page_allows_nothing_from_elsewhere(served_runs: Runs) -> None:
    with client_of(served_runs["writes"]) as client:
        answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "//" not in answer.text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")
