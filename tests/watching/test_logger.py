"""What a run shows and writes: lines that every reader takes, one run in TensorBoard, a bar or plain lines."""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
import re
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from training import Clock, make_experiment, write_text

from rnntrain.runs.run import RunDir
from rnntrain.runs.summary import Summary
from rnntrain.watching import logger as logger_module
from rnntrain.watching.logger import Logger
from rnntrain.watching.recorder import Recorder
from rnntrain.watching.window import StepResult


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Logger]]:
    """Make loggers of one run; close them."""
    made: list[Logger] = []

    def make(**options: Any) -> Logger:
        made.append(Logger(tmp_path / "metrics.jsonl", tmp_path / "tensorboard", unit="characters", **options))
        return made[-1]

    yield make
    for logger in made:
        logger.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("rnntrain.watching.logger.time", clock)
    monkeypatch.setattr("rnntrain.watching.recorder.time", clock)
    monkeypatch.setattr("tqdm.std.time", clock.monotonic)
    return clock


def strict_lines(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl as a reader does that knows no NaN."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text(encoding="utf-8").splitlines()]


def events(folder: Path) -> list[Any]:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.rglob("*tfevents*")):
        for raw in RawEventFileLoader(str(path)).Load():
            event = Event()
            event.ParseFromString(raw)
            found.append(event)
    return found


# -- metrics.jsonl ---


def test_each_line_is_one_json_object_with_its_step(make, tmp_path: Path) -> None:
    logger = make(quiet=True)
    logger.scalars(3, {"train/loss": 1.5, "train/epoch": 0})
    logger.scalars(4, {"val/loss": 0.1 + 0.2})
    logger.close()
    assert strict_lines(tmp_path / "metrics.jsonl") == [
        {"step": 3, "train/loss": 1.5, "train/epoch": 0},
        {"step": 4, "val/loss": 0.1 + 0.2},
    ]


def test_what_is_not_finite_is_text(make, tmp_path: Path) -> None:
    logger = make(quiet=True)
    logger.scalars(1, {"a": math.nan, "b": math.inf, "c": -math.inf})
    assert strict_lines(tmp_path / "metrics.jsonl") == [{"step": 1, "a": "nan", "b": "inf", "c": "-inf"}]


def test_lines_can_be_read_while_the_run_goes_on(make, tmp_path: Path) -> None:
    logger = make(quiet=True)
    logger.scalars(1, {"train/loss": 1.0})
    assert len(strict_lines(tmp_path / "metrics.jsonl")) == 1


def test_lines_are_appended(make, tmp_path: Path) -> None:
    for step in (1, 2):
        logger = make(quiet=True)
        logger.scalars(step, {"train/loss": 1.0})
        logger.close()
    assert [line["step"] for line in strict_lines(tmp_path / "metrics.jsonl")] == [1, 2]


@pytest.mark.parametrize("lines_before", [0, 1, 3000])
def test_final_line_goes_when_the_run_goes_on(make, tmp_path: Path, lines_before: int) -> None:
    logger = make(quiet=True)
    logger._tensorboard = lambda: None  # type: ignore[assignment,method-assign,return-value]
    for step in range(lines_before):
        logger.scalars(step, {})
    logger.scalars(lines_before, {}, final=True)
    logger.close()
    path = tmp_path / "metrics.jsonl"
    before = path.read_bytes().splitlines(keepends=True)
    assert json.loads(before[-1]) == {"step": lines_before, "final": True}
    for _ in range(2):  # what is left is no final line
        make(quiet=True, resumed_at=lines_before).close()
        assert path.read_bytes() == b"".join(before[:-1])


def test_new_run_drops_no_line(make, tmp_path: Path) -> None:
    logger = make(quiet=True)
    logger.scalars(1, {"val/loss": 1.0}, final=True)
    logger.close()
    make(quiet=True).close()
    assert len(strict_lines(tmp_path / "metrics.jsonl")) == 1


# -- TensorBoard ---


def test_scalars_and_texts_stand_at_their_step(make, tmp_path: Path) -> None:
    logger = make(quiet=True)
    logger.scalars(5, {"train/loss": 2.5})
    logger.texts(5, {"sample": "a line\n# no heading\n\n  indented"})
    logger.close()
    found = {value.tag: (event.step, value) for event in events(tmp_path) for value in event.summary.value}
    assert found["train/loss"][0] == 5
    assert found["train/loss"][1].simple_value == 2.5
    step, value = found["sample/text_summary"]
    assert step == 5
    # Markdown takes a line of four spaces as it is.
    assert value.tensor.string_val[0].decode() == "    a line\n    # no heading\n    \n      indented"


def test_nothing_is_imported_or_written_for_tensorboard_before_there_is_something(make, tmp_path: Path) -> None:
    logger = make(quiet=True)
    logger.flush()
    logger.close()
    assert not (tmp_path / "tensorboard").exists()


def test_hyperparameters_stand_in_the_runs_own_events(make, tmp_path: Path) -> None:
    """One file, no folder of a phantom run, and the values as TensorBoard's plugin reads them."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    hyperparameters = {
        "model.hidden_size": 64,
        "optimizer.lr": 0.1,
        "data.path": "a.txt",
        "model.norm": True,
        "x": None,
        "optimizer.betas": [0.9, 0.99],
    }
    logger = make(quiet=True, hyperparameters=hyperparameters)
    logger.scalars(7, {"val/loss": 1.25})
    logger.finished({"val/loss": 1.25}, "val/loss")
    logger.close()
    assert [path.name[:19] for path in (tmp_path / "tensorboard").iterdir()] == ["events.out.tfevents"]
    found = {value.tag: (event.step, value) for event in events(tmp_path) for value in event.summary.value}
    assert found["final/val/loss"][0] == 7
    assert found["final/val/loss"][1].simple_value == 1.25
    step, value = found["_hparams_/session_start_info"]
    plugin = HParamsPluginData.FromString(value.metadata.plugin_data.content)
    shown = {name: value.WhichOneof("kind") for name, value in plugin.session_start_info.hparams.items()}
    assert step == 7
    assert shown == {
        "model.hidden_size": "number_value",
        "optimizer.lr": "number_value",
        "data.path": "string_value",
        "model.norm": "string_value",
        "optimizer.betas": "string_value",
        "x": "string_value",
    }
    metrics = HParamsPluginData.FromString(found["_hparams_/experiment"][1].metadata.plugin_data.content)
    assert [info.name.tag for info in metrics.experiment.metric_infos] == ["final/val/loss", "val/loss"]


@pytest.mark.parametrize(("resumed_at", "purge"), [(None, None), (0, 1), (12, 13)])
def test_resumed_run_tells_tensorboard_to_forget_later_steps(make, tmp_path: Path, resumed_at: Any, purge: Any) -> None:
    logger = make(quiet=True, resumed_at=resumed_at)
    logger.scalars(20, {"train/loss": 1.0})
    logger.close()
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == ([] if purge is None else [purge])


# -- without a terminal ---


def test_lines_without_a_terminal_tell_all(make, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    logger = make()
    logger.progress(1, 0.01, 4.5678, 1.0, 123.4)
    clock.advance(30)
    logger.progress(1234, 0.11, 1.23456, 0.255, 98765.4)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "step 1: loss 4.5678, clipped 100%, 123 characters/s, 1% done"
    assert second == "step 1,234: loss 1.2346, clipped 26%, 98,765 characters/s, 11% done, 0:04:27 left"


def test_time_left_of_a_resumed_run_is_that_of_its_own_speed(
    make, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = make(resumed_at=500)
    logger.progress(501, 0.501, 1.0, 0.0, 1.0)
    clock.advance(7200)
    logger.progress(751, 0.751, 1.0, 0.0, 1.0)
    assert "75% done, 1:59:31 left" in capsys.readouterr().err


def test_run_without_a_known_end_shows_no_time_left(make, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    logger = make()
    for step in (1, 2):
        clock.advance(10)
        logger.progress(step, 0.0, 1.0, 0.0, 1.0)
    assert "left" not in capsys.readouterr().err


def test_progress_is_due_now_and_then(make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = make()
    due = []
    for _ in range(25):
        due.append(logger.progress_due())
        clock.advance(1.0)
    assert [i for i, is_due in enumerate(due) if is_due] == [0, 10, 20]


def test_messages_are_lines(make, capsys: pytest.CaptureFixture[str]) -> None:
    make().message("step 250: val/loss 1.5")
    assert capsys.readouterr().err == "step 250: val/loss 1.5\n"


def test_quiet_shows_nothing(make, capsys: pytest.CaptureFixture[str]) -> None:
    logger = make(quiet=True)
    assert not logger.progress_due()
    logger.progress(1, 0.5, 1.0, 0.0, 1.0)
    logger.message("hello")
    logger.close()
    assert capsys.readouterr() == ("", "")


# -- with a terminal ---


class Terminal:
    """A pseudo terminal of a given width that stands in for standard error."""

    def __init__(self, columns: int) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.set_blocking(self._master, False)
        self.stderr = io.TextIOWrapper(os.fdopen(slave, "wb", buffering=0), encoding="utf-8", write_through=True)

    def read(self) -> str:
        """Return all that was written since the last call."""
        pieces = []
        with suppress(BlockingIOError, OSError):
            while piece := os.read(self._master, 1 << 16):
                pieces.append(piece)
        return b"".join(pieces).decode()

    def close(self) -> None:
        self.stderr.close()
        os.close(self._master)


@pytest.fixture
def attach(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Terminal]]:
    """Put a terminal in the place of standard error; called in the test itself, since pytest puts its own there."""
    terminals: list[Terminal] = []

    def attach(columns: int = 160) -> Terminal:
        terminals.append(Terminal(columns))
        monkeypatch.setattr(sys, "stderr", terminals[-1].stderr)
        return terminals[-1]

    yield attach
    monkeypatch.undo()
    for terminal in terminals:
        terminal.close()


def test_bar_tells_all(make, attach, clock: Clock) -> None:
    """Loss, clipped share, speed, steps of how many, and the time left."""
    terminal = attach()
    logger = make()
    logger.progress(1, 0.001, 3.0, 0.0, 1.0)
    clock.advance(99.9)
    logger.progress(1000, 0.25, 1.23456, 0.255, 98765.4)
    drawn = terminal.read().split("\r")[-1]
    assert "1000/4000 [01:39<05:00" in drawn
    assert "25%" in drawn
    assert "loss 1.2346, clipped 26%, 98,765 characters/s" in drawn


def test_bar_of_a_resumed_run_counts_from_where_it_goes_on(make, attach, clock: Clock) -> None:
    terminal = attach()
    logger = make(resumed_at=500)
    logger.progress(501, 0.501, 1.0, 0.0, 1.0)
    clock.advance(25.0)
    logger.progress(751, 0.751, 1.0, 0.0, 1.0)
    assert "751/1000 [00:25<00:24, 10.00step/s" in terminal.read()


def test_bar_without_a_known_end_still_counts(make, attach, clock: Clock) -> None:
    terminal = attach()
    logger = make()
    for step in (1, 2):
        clock.advance(1.0)
        logger.progress(step, 0.0, 1.5, 0.0, 1.0)
    assert "2step [" in terminal.read()


def test_bar_is_drawn_more_often_than_lines(make, attach, clock: Clock) -> None:
    attach()
    logger = make()
    due = []
    for _ in range(6):
        due.append(logger.progress_due())
        clock.advance(0.2)
    assert due == [True, False, False, True, False, False]
    assert logger_module.BAR_SECONDS < logger_module.LINE_SECONDS


def test_messages_stand_above_the_bar_which_goes_at_the_end(make, attach, clock: Clock) -> None:
    terminal = attach()
    logger = make()
    logger.progress(1, 0.5, 1.0, 0.0, 1.0)
    terminal.read()
    logger.message("step 1: val/loss 2.5")
    assert re.search(r"step 1: val/loss 2.5\r?\n", terminal.read())
    logger.close()
    assert terminal.read().split("\r")[-1].strip() == ""


def test_bar_fits_a_narrow_terminal(make, attach, clock: Clock) -> None:
    terminal = attach(columns=60)
    make().progress(1000, 0.25, 1.23456, 0.255, 98765.4)
    drawn = terminal.read().split("\r")
    assert "1000/4000" in drawn[-1]
    assert max(map(len, drawn)) <= 60


def test_quiet_draws_no_bar(make, attach) -> None:
    terminal = attach()
    logger = make(quiet=True)
    logger.progress(1, 0.5, 1.0, 0.0, 1.0)
    logger.close()
    assert terminal.read() == ""


# -- what the recorder shows of a trainer ---


def test_speed_is_that_since_the_last_showing(
    tmp_path: Path, clock: Clock, make, capsys: pytest.CaptureFixture[str]
) -> None:
    """A resumed run does not count what was trained before it."""
    trainer = make_experiment(write_text(tmp_path)).trainer
    recorder = Recorder(RunDir(tmp_path), make(), 2)
    result = StepResult(torch.tensor(6.0), torch.tensor(4.0), 1.0, True)
    trainer.units_seen = 1_000_000
    clock.advance(100)
    recorder.started(trainer)
    for units in (50, 300):
        clock.advance(10)
        trainer.units_seen += units
        trainer.step += 1
        trainer.window.add(result)
        recorder.stepped(trainer, result)
    first, second = capsys.readouterr().err.splitlines()
    assert "step 1: loss 1.5000, clipped 100%, 5 characters/s" in first
    assert "step 2: loss 1.5000, clipped 100%, 30 characters/s" in second


def test_evaluations_are_shown(tmp_path: Path, make, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_experiment(write_text(tmp_path)).trainer
    trainer.step = 1500
    Recorder(RunDir(tmp_path), make(), 2).log(trainer, {"val/loss": 1.23456, "val/perplexity": 3.5})
    assert capsys.readouterr().err == "step 1,500: val/loss 1.2346, val/perplexity 3.5000\n"


# -- pictures on the way ---


def test_pictures_come_late_and_at_most_once_a_minute_the_first_evaluation_among_them(
    tmp_path: Path, clock: Clock, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_experiment(write_text(tmp_path)).trainer
    logger = make(quiet=True)
    drawn: list[int] = []
    monkeypatch.setattr(logger, "pictures", lambda step, pictures: drawn.extend([step] * len(pictures)))
    recorder = Recorder(RunDir(tmp_path), logger, 2)
    calls = []
    for step in range(1, 16):  # an evaluation every ten seconds, less one
        clock.advance(9)
        trainer.step = step
        recorder.illustrate(trainer, {"confusion": lambda: calls.append(1), "sample": "a text"})  # type: ignore[dict-item,func-returns-value]
    assert drawn == [1, 2, 9]
    assert len(calls) == len(drawn)


# -- the summary ---


def summary(**changes: Any) -> Summary:
    values: dict[str, Any] = {
        "status": "finished",
        "reason": "max_steps",
        "step": 1500,
        "epochs": 1.25,
        "minutes": 2.0,
        "units": 1_200_000,
        "unit": "characters",
        "num_parameters": 12345,
        "best_metric": "loss",
        "best_value": 1.5,
        "best_step": 1250,
        "metrics": {"val/loss": 1.5, "val/loss_cold": 1.5, "val/loss_carried": 1.4},
    }
    return Summary(**(values | changes))


def test_summary_tells_the_outcome() -> None:
    assert summary().lines("outputs/run") == [
        "Finished (max_steps): 1,500 steps, 1.25 epochs in 2.0 min, 10,000 characters/s, 12,345 parameters",
        "Best val/loss: 1.5000 at step 1,250",
        "  val/loss_cold     1.5000",
        "  val/loss_carried  1.4000",
        "Run: outputs/run",
    ]


def test_summary_is_json_whatever_the_values() -> None:
    plain = summary(metrics={"val/loss": math.nan, "val/perplexity": math.inf}, best_value=None, minutes=0.0).to_json()
    text = json.dumps(plain, allow_nan=False)
    assert json.loads(text)["val/loss"] == "nan"
    assert json.loads(text)["val/perplexity"] == "inf"
    assert json.loads(text)["best/loss"] is None
    assert summary().to_json()["best/loss"] == 1.5


def test_summary_of_a_short_run_counts_seconds() -> None:
    assert "in 3.0 s" in summary(minutes=0.05).lines("run")[0]
    assert not any("Best" in line for line in summary(best_value=None).lines("run"))
