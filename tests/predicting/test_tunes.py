"""Music: chords drawn one after the other, and MIDI files that other programs read."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import Answer
from tasks import cases

from rnntrain import commands
from rnntrain.config import check
from rnntrain.data.numbers.pianoroll import LOWEST_PITCH
from rnntrain.errors import UserError
from rnntrain.predicting.midi import STEP_TICKS, TICKS, _delta, midi_of
from rnntrain.predicting.tunes import chords_of, compose
from rnntrain.sample import SamplingOptions

Cli = Callable[..., Answer]
Refused = Callable[..., str]


def test_a_midi_file_is_read_back_by_another_program() -> None:
    mido = pytest.importorskip("mido")
    rng = np.random.default_rng(0)
    roll_TK = (rng.random((40, 12)) < 0.3).astype(np.uint8)
    file = mido.MidiFile(file=io.BytesIO(midi_of(roll_TK, step_seconds=0.2)))
    assert (file.type, file.ticks_per_beat, len(file.tracks)) == (0, TICKS, 1)
    assert file.tracks[0][0].tempo == 400_000
    assert file.length == pytest.approx(0.2 * max(np.flatnonzero(roll_TK.any(1)) + 1))
    again_TK, sounding_K, step = np.zeros_like(roll_TK), np.zeros(12, np.uint8), 0
    for message in file.tracks[0]:
        gap = message.time // STEP_TICKS
        again_TK[step : step + gap] = sounding_K
        step += gap
        if message.type in ("note_on", "note_off"):
            sounding_K[message.note - LOWEST_PITCH] = message.type == "note_on"
    np.testing.assert_array_equal(again_TK, roll_TK)


def test_keys_that_go_on_are_one_note() -> None:
    roll_TK = np.zeros((4, 2), np.uint8)
    roll_TK[:3, 0] = 1
    data = midi_of(roll_TK)
    assert data.count(bytes([0x90, LOWEST_PITCH])) == 1
    assert data.count(_delta(3 * STEP_TICKS) + bytes([0x80, LOWEST_PITCH])) == 1


@pytest.mark.parametrize(
    ("ticks", "written"), [(0, "00"), (0x7F, "7f"), (0x80, "8100"), (0x2000, "c000"), (0xFFFFFFF, "ffffff7f")]
)
def test_times_are_written_as_the_standard_has_them(ticks: int, written: str) -> None:
    assert _delta(ticks).hex() == written


def test_silence_is_a_file_too() -> None:
    assert midi_of(np.zeros((3, 4), np.uint8)).startswith(b"MThd")


@pytest.fixture(scope="module")
def music_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    plain = cases.music(folder / "data").experiment.config.plain
    limits = {"max_steps": 4, "eval_every_steps": 4, "log_every_steps": 2}
    run = {**plain["run"], "dir": str(folder / "run")}
    return commands.train(check({**plain, "trainer": limits, "run": run}), quiet=True).run.path


def test_tunes_begin_with_the_prompt_and_follow_the_model(tmp_path: Path) -> None:
    case = cases.music(tmp_path)
    codec = case.experiment.data.codec
    prompt_TK = np.zeros((3, 12), np.uint8)
    prompt_TK[[0, 1, 2], [1, 5, 7]] = 1
    options = SamplingOptions(length=10, num_samples=2, seed=3)
    tunes = compose(case.model, codec, prompt_TK, options)
    assert tunes.shape == (2, 13, 12)
    np.testing.assert_array_equal(tunes[:, :3], np.stack([prompt_TK, prompt_TK]))
    np.testing.assert_array_equal(tunes, compose(case.model, codec, prompt_TK, options))
    assert not np.array_equal(tunes[0], tunes[1])
    # The chord that is likeliest after the prompt, as the model says it of the whole.
    [record] = case.experiment.task.predictor(codec, case.model, {})([prompt_TK])
    likely = {key["pitch"] - LOWEST_PITCH for key in record["next"] if key["probability"] > 0.5}
    greedy = compose(case.model, codec, prompt_TK, SamplingOptions(length=1, temperature=0.0))
    assert set(np.flatnonzero(greedy[0, 3])) == likely


def test_keys_sound_as_often_as_they_are_probable(tmp_path: Path) -> None:
    case = cases.music(tmp_path)
    with torch.no_grad():
        case.model.head.linear.weight.zero_()
        case.model.head.linear.bias[:] = torch.linspace(-2, 2, 12)
    drawn = compose(
        case.model, case.experiment.data.codec, np.zeros((0, 12)), SamplingOptions(200, 20, temperature=1.0)
    )
    np.testing.assert_allclose(drawn.mean((0, 1)), torch.linspace(-2, 2, 12).sigmoid(), atol=0.04)


def test_a_prompt_is_pitches() -> None:
    assert chords_of("60 64 | | 62") == [[60, 64], [], [62]]
    assert chords_of(" ") == []
    with pytest.raises(UserError, match="write chords as MIDI pitches"):
        chords_of("C4 E4")


def test_sample_writes_midi_and_names(run_cli: Cli, music_run: Path, workspace: Path) -> None:
    assert run_cli("sample", music_run, "--out", "tune.mid", "--length", "20").out == "tune.mid\n"
    assert (workspace / "tune.mid").read_bytes().startswith(b"MThd")
    several = run_cli("sample", music_run, "--out", "some.mid", "--num-samples", "2", "--prompt", "24 | 25 26")
    assert several.out == "some-1.mid\nsome-2.mid\n"
    lines = run_cli("sample", music_run, "--length", "5", "--prompt", "24 | 25 26").out.splitlines()
    assert len(lines) == 7
    assert lines[:2] == ["C1", "C#1 D1"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--out", "tune.txt"], "name it tune.mid"),
        (["--out", "tiny.txt"], "--out tiny.txt: exists"),
        (["--top-k", "3"], "use --temperature"),
        (["--prompt", "C4"], "MIDI pitches"),
        (["--prompt", "99"], "from 21 to 32"),
        (["--step-seconds", "0"], "--step-seconds 0"),
    ],
)
def test_sample_refuses_in_one_line(refused: Refused, music_run: Path, words: list[str], part: str) -> None:
    assert part in refused("sample", music_run, *words)


def test_text_can_be_written_to_a_file(run_cli: Cli, trained_run: Path, workspace: Path) -> None:
    text = run_cli("sample", trained_run, "--length", "30").out
    assert run_cli("sample", trained_run, "--length", "30", "--out", "text.txt").out == ""
    assert (workspace / "text.txt").read_text() == text
