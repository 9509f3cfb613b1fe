"""Speech to text piece by piece: what comes out is what the whole recording gives, however it is cut."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commandline import Answer
from sounds import RATE, spoken, write_wav
from tasks import cases
from tasks.cases import Case

from rnntrain import commands
from rnntrain.config import check
from rnntrain.data.speech.ngram import NGram
from rnntrain.errors import UserError
from rnntrain.predicting.streaming import StreamTranscriber, pieces_of_stream
from rnntrain.predicting.transcripts import TranscriptPredictor
from rnntrain.tasks.ctc_decoding import BeamSearch, BestPath, LanguageWeights, beam_search, best_path

Cli = Callable[..., Answer]
CTC = "rnntrain.tasks.ctc.CTC"


def make(folder: Path, changes: dict[str, Any] | None = None, **task: Any) -> Case:
    texts = ["a b", "ba", "c a b", "cab", "b", "ac"]
    for seed, text in enumerate(texts):
        write_wav(folder / f"{seed}.wav", spoken(text, seed=seed))
    lines = [f"{seed}.wav,{text},{'val' if seed < 2 else 'train'}" for seed, text in enumerate(texts)]
    (folder / "all.csv").write_text("path,text,split\n" + "\n".join(["", *lines]).strip() + "\n")
    data = {"_target_": "rnntrain.data.speech.audio.Audio", "path": str(folder / "all.csv"), "num_mels": 8}
    data |= {"normalize": "train", "stack": 2, "lm_order": 2}
    case = cases.case_of(folder, {"_target_": CTC, **task}, data, changes, initial_loss=None, overfit_loss=0.1)
    optimizer = torch.optim.Adam(case.model.parameters(), lr=0.02)
    for _ in range(40):  # so that it says something
        loss, count = case.loss(case.batch)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    return case


def predictor_of(case: Case) -> TranscriptPredictor:
    experiment = case.experiment
    found = experiment.task.predictor(experiment.data.codec, case.model, experiment.config.data.arguments)
    assert isinstance(found, TranscriptPredictor)
    return found


@pytest.mark.parametrize("task", [{}, {"beam_size": 4, "lm_weight": 0.3}], ids=["best path", "beam"])
@pytest.mark.parametrize("size", [1, 77, 1000, 10_000])
def test_pieces_give_what_the_whole_gives(tmp_path: Path, task: dict[str, Any], size: int) -> None:
    predictor = predictor_of(make(tmp_path, **task))
    samples_S = np.concatenate([spoken("a b c", seed=9), np.zeros(37, np.float32)])
    [whole] = predictor([samples_S])
    assert whole["text"]
    stream = StreamTranscriber(predictor)
    settled = [stream.push(samples_S[start : start + size]) for start in range(0, len(samples_S), size)]
    assert stream.finish() == whole["text"]
    assert stream.seconds == pytest.approx(len(samples_S) / RATE)
    for before, after in zip(settled, [*settled[1:], whole["text"]], strict=True):
        assert after.startswith(before)


def test_a_stream_holds_no_more_however_long_it_is(tmp_path: Path) -> None:
    stream = StreamTranscriber(predictor_of(make(tmp_path)))
    for _ in range(50):
        stream.push(spoken("a", seed=3))
        assert len(stream._rest_S) < 2 * RATE * 0.025 + 2 * RATE * 0.02


@pytest.mark.parametrize(
    ("changes", "part"),
    [({"model.bidirectional": True}, "model.bidirectional=false"), ({}, "data.normalize=train")],
)
def test_models_that_need_the_whole_say_so(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    case = make(tmp_path, changes)
    if not changes:
        case.experiment.data.codec.frontend.normalize = "utterance"
    with pytest.raises(UserError, match=part):
        StreamTranscriber(predictor_of(case))


def test_decoders_in_pieces_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    model = NGram.fit([[0, 1, 2], [1, 1], [2, 0]], 3, 2)
    language = LanguageWeights(model, 0.5, 0.1)
    for _ in range(50):
        logits = rng.normal(0, 2, (12, 4))
        log_probs_TV = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        cut = int(rng.integers(0, 13))
        path, beam = BestPath(), BeamSearch(3, language)
        for decoder in (path, beam):
            decoder.push(log_probs_TV[:cut])
            settled = list(decoder.settled())
            decoder.push(log_probs_TV[cut:])
            assert decoder.best()[: len(settled)] == settled
        assert path.best() == best_path(log_probs_TV)
        assert beam.best() == beam_search(log_probs_TV, 3, language)


def test_raw_sound_is_whole_samples_whatever_is_read() -> None:
    values = np.arange(-50, 50, dtype="<i2")

    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 3))

    found = np.concatenate(list(pieces_of_stream(Trickle(values.tobytes()), 0.01, 1000)))
    np.testing.assert_array_equal(found, values.astype(np.float32) / 32768)


@pytest.fixture(scope="module")
def speech_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    plain = make(folder / "data").experiment.config.plain
    limits = {"max_steps": 30, "eval_every_steps": 30, "log_every_steps": 10}
    run = {**plain["run"], "dir": str(folder / "run")}
    return commands.train(check({**plain, "trainer": limits, "run": run}), quiet=True).run.path


def test_transcribe_writes_what_is_said(run_cli: Cli, speech_run: Path, workspace: Path) -> None:
    write_wav(workspace / "new" / "one.wav", spoken("a b"))
    write_wav(workspace / "new" / "two.wav", spoken("c"))
    records = [
        json.loads(line) for line in run_cli("transcribe", speech_run, "new", "--format", "jsonl").out.splitlines()
    ]
    assert [Path(record["source"]).name for record in records] == ["one.wav", "two.wav"]
    for record in records:
        assert "".join(word["word"] for word in record["words"]) == record["text"].replace(" ", "")
        assert all(0 <= word["start"] < word["end"] <= record["seconds"] + 0.05 for word in record["words"])
    text = run_cli("transcribe", speech_run, "new/one.wav").out
    assert text == f"new/one.wav\t{records[0]['text']}\n"


def test_a_stream_is_transcribed_from_a_file_and_from_standard_input(
    run_cli: Cli, speech_run: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples_S = spoken("a b c", seed=4)
    path = write_wav(workspace / "one.wav", samples_S)
    [whole] = [
        json.loads(line) for line in run_cli("transcribe", speech_run, path, "--format", "jsonl").out.splitlines()
    ]
    assert run_cli("transcribe", speech_run, path, "--stream").out == whole["text"] + "\n"
    raw = np.round(samples_S * 32767).astype("<i2").tobytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    answer = run_cli("transcribe", speech_run, "-", "--stream", "--format", "jsonl", "--piece-seconds", "0.1")
    records = [json.loads(line) for line in answer.out.splitlines()]
    assert records[-1] == {"seconds": round(len(samples_S) / RATE, 3), "text": whole["text"], "final": True}
    assert [record["final"] for record in records[:-1]] == [False] * (len(records) - 1)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "name a recording"),
        (["nowhere.wav"], "nowhere.wav: there is no such file"),
        (["tiny.txt"], "tiny.txt: is no sound that can be read"),
        (["tiny.txt", "--stream"], "tiny.txt: is no sound that can be read"),
        (["a.wav", "b.wav", "--stream"], "takes one recording"),
        (["a.wav", "--stream", "--piece-seconds", "0"], "--piece-seconds 0"),
        (["-"], "transcribe RUN --stream -"),
    ],
)
def test_transcribe_refuses_in_one_line(
    refused: Callable[..., str], speech_run: Path, words: list[str], part: str
) -> None:
    assert part in refused("transcribe", speech_run, *words)


def test_transcribe_refuses_a_run_of_another_task(refused: Callable[..., str], trained_run: Path) -> None:
    assert "transcribe takes task=ctc" in refused("transcribe", trained_run, "tiny.txt")
