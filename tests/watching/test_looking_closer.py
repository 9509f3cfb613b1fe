"""What a run looks at beside its numbers changes nothing of it: profiles, histograms, sounds, vectors."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import TINY
from tasks.cases import TASKS
from training import make_experiment, write_text

from rnntrain.data.numbers.played import SAMPLE_RATE, STEP_SECONDS, play
from rnntrain.data.speech.morse import Morse
from rnntrain.watching.histograms import spreads
from rnntrain.watching.looking_closer import learnt_vectors
from rnntrain.watching.profile_report import profile_lines

LONG = [*TINY, "trainer.max_steps=20", "trainer.eval_every_steps=100", "trainer.log_every_steps=5"]


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines for name in ("train/loss", "val/loss") if name in line]


# -- profile ---


@pytest.fixture
def profiled(run_cli, workspace: Path) -> Path:
    answer = run_cli("train", *LONG, "debug=profile", "trainer.max_steps=20", "run.dir=profiled", "--quiet")
    assert answer.code == 0, answer
    return workspace / "profiled"


def test_a_profile_tells_every_part_of_a_step(profiled: Path) -> None:
    table = (profiled / "profile" / "table.txt").read_text()
    assert "over 12 steps" in table
    parts = (
        "data",
        "rest of the step",
        "forward: input",
        "forward: layer 1 (LSTM)",
        "forward: head",
        "loss",
        "backward",
    )
    for part in (*parts, "clipping and checks", "optimizer", "log: numbers", "save"):
        assert f"\n  {part} " in table, part
    shares = [float(line.split("%")[0].split()[-1]) for line in table.splitlines() if " ms  " in line]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_a_profile_leaves_a_trace_that_names_the_parts(profiled: Path) -> None:
    trace = json.loads(gzip.decompress((profiled / "profile" / "trace.json.gz").read_bytes()))
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {"forward: layer 1 (LSTM)", "forward: head", "loss"} <= names


def test_a_profile_changes_no_bit_of_a_run(run_cli, profiled: Path, workspace: Path) -> None:
    answer = run_cli(
        "train", *LONG, "debug=profile", "diagnose=none", "trainer.max_steps=20", "run.dir=plain", "--quiet"
    )
    assert answer.code == 0, answer
    assert losses(profiled) == losses(workspace / "plain")


def test_a_run_too_short_for_a_profile_says_so() -> None:
    assert "raise trainer.max_steps" in profile_lines({}, 0, 8)[0]


def test_words_name_what_takes_most() -> None:
    lines = profile_lines({"data": 6.0, "forward: head": 1.0, "backward": 3.0}, 10, 8)
    assert lines[-1].startswith("60% of the time: the model waits for its data")


# -- histograms ---


def test_histograms_show_weights_gradients_and_gates(tmp_path: Path) -> None:
    experiment = make_experiment(write_text(tmp_path))
    experiment.trainer.train_step()
    found = spreads(experiment.trainer)
    names = [name for name, _ in experiment.model.named_parameters()]
    assert {f"weights/{name}" for name in names} | {f"gradients/{name}" for name in names} <= set(found)
    gates = {name: values for name, values in found.items() if name.startswith("gates/layer1_")}
    assert len(gates) >= 3
    assert all(float(values.min()) >= 0 and float(values.max()) <= 1 for values in gates.values())


def test_histograms_of_a_model_that_reads_both_ways_lack_gates_alone(tmp_path: Path) -> None:
    experiment = TASKS["ctc"](tmp_path).experiment
    found = spreads(experiment.trainer)
    assert found
    assert not [name for name in found if name.startswith("gates/")]


def test_histograms_change_no_bit_of_a_run(run_cli, workspace: Path) -> None:
    for kind in ("histograms", "none"):
        assert run_cli("train", *TINY, f"diagnose={kind}", f"run.dir={kind}", "--quiet").code == 0
    assert losses(workspace / "histograms") == losses(workspace / "none")
    events = b"".join(path.read_bytes() for path in (workspace / "histograms" / "tensorboard").glob("*tfevents*"))
    assert b"gates/layer1_" in events


# -- sounds and vectors ---


def test_morse_is_heard_as_the_model_hears_it() -> None:
    data = Morse(epoch_batches=1, eval_size=3)
    data.load()
    sounds = data.sounds("val", 2)
    held = data._held["val"][:2]
    assert list(sounds) == [each.text for each in held]
    for (samples_S, rate), each in zip(sounds.values(), held, strict=True):
        assert rate == data.settings.sample_rate
        np.testing.assert_array_equal(data.codec.frontend(samples_S), each.x_TD)


def test_a_key_sounds_at_its_pitch_while_it_is_held() -> None:
    roll_TK = np.zeros((4, 60), np.uint8)
    roll_TK[1:3, 69 - 21] = 1
    samples_S = play(roll_TK, 21)
    size = int(SAMPLE_RATE * STEP_SECONDS)
    assert not samples_S[:size].any()
    assert not samples_S[3 * size :].any()
    spectrum = np.abs(np.fft.rfft(samples_S[size : 3 * size]))
    assert np.argmax(spectrum) * SAMPLE_RATE / (2 * size) == pytest.approx(440, abs=2)
    assert np.abs(play(np.ones((2, 60)), 21)).max() <= 1.0


@pytest.mark.parametrize("task", ["language_modeling", "classification", "tagging", "ctc", "audio_classification"])
def test_every_vector_has_its_name(task: str, tmp_path: Path) -> None:
    vectors = learnt_vectors(TASKS[task](tmp_path).experiment)
    assert vectors
    for names, vectors_ND in vectors.values():
        assert len(names) == len(vectors_ND) > 1
        assert np.isfinite(vectors_ND).all()


def test_a_run_leaves_what_tensorboard_needs_to_show_its_vectors(run_cli, workspace: Path) -> None:
    assert run_cli("train", *TINY, "run.dir=run", "--quiet").code == 0
    folder = workspace / "run" / "tensorboard"
    assert "projector/tokens/vectors.tsv" in (folder / "projector_config.pbtxt").read_text()
    vectors = np.loadtxt(folder / "projector" / "tokens" / "vectors.tsv")
    names = (folder / "projector" / "tokens" / "names.tsv").read_text(encoding="utf-8").splitlines()
    assert vectors.shape == (len(names), 8)
    assert torch.isfinite(torch.from_numpy(vectors)).all()
