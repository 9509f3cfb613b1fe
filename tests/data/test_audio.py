"""Recordings as a data set: splits, order, memory, masks, and lengths that CTC cannot align."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import spoken, tone, write_letters, write_wav
from training import differences

from rnntrain.data.labelled.classes import ClassCodec
from rnntrain.data.speech.audio import Audio
from rnntrain.data.speech.joined import JoinedAudio
from rnntrain.data.speech.transcripts import TranscriptCodec
from rnntrain.errors import UserError

pytest.importorskip("soundfile", reason="needs rnntrain[audio]")

PATTERN = "{label}_{speaker}_{index}.wav"
SMALL: dict[str, Any] = {"num_mels": 8, "batch_size": 4, "stack": 2}


def letters(folder: Path, **options: Any) -> Audio:
    write_letters(folder)
    return Audio(str(folder), **{"pattern": PATTERN, "target": "label", "val": "index:0", **SMALL, **options})


def loaded(data: Audio) -> Audio:
    data.load()
    return data


def with_transcripts(folder: Path, texts: list[str], **options: Any) -> Audio:
    rows = ["file,text,split"]
    for number, text in enumerate(texts):
        write_wav(folder / f"{number}.wav", spoken(text, seed=number))
        rows.append(f"{number}.wav,{text},{'dev' if number == len(texts) - 1 else 'train'}")
    (folder / "list.csv").write_text("\n".join(rows))
    return Audio(str(folder / "list.csv"), **{**SMALL, **options})


def test_labels_become_classes(tmp_path: Path) -> None:
    data = loaded(letters(tmp_path, test="speaker:bob"))
    assert isinstance(data.codec, ClassCodec)
    assert data.codec.class_names == ["a", "b", "c"]
    assert data.splits == ("train", "val", "test")
    assert data.counts("test") == {"a": 4, "b": 4, "c": 4}
    [batch] = data.eval_batches("val")
    assert batch.inputs.shape == (3, 5, 16)
    assert batch.targets.tolist() == [0, 1, 2]
    assert "train 9" in data.describe()
    assert "MiB in memory" in data.describe()
    assert data.examples("val", 1) == [f"{tmp_path / 'a_ann_0.wav'}: a"]


def test_transcripts_become_symbols(tmp_path: Path) -> None:
    data = loaded(with_transcripts(tmp_path, ["ab c", "cab", "bb", "abc"], lm_order=2))
    assert isinstance(data.codec, TranscriptCodec)
    assert data.codec.symbols == (" ", "a", "b", "c")
    assert data.codec.language_model is not None
    [batch] = data.eval_batches("val")
    assert batch.targets.tolist() == [[2, 3, 4]]
    assert batch.target_lengths_B.tolist() == [3]
    words = loaded(with_transcripts(tmp_path, ["ab c", "cab", "bb", "bb"], unit="word"))
    assert words.codec.symbols == ("ab", "bb", "c", "cab")


def test_ngrams_may_come_from_a_text(tmp_path: Path) -> None:
    (tmp_path / "lm.txt").write_text("abab\nab xab\n", encoding="utf-8")
    data = loaded(with_transcripts(tmp_path, ["ab", "cab", "bb", "abc"], lm_order=2, lm_path=str(tmp_path / "lm.txt")))
    model = data.codec.language_model
    a, b, c = range(3)
    assert model.log_prob((a,), b) > np.log(0.7)
    # What the codec cannot write breaks a line in two: nothing is said to follow it, or to come before.
    assert model.counts[(b,)] == {a: 1, model.end: 3}
    assert c not in model.counts[()]


def test_utterance_is_normalised_by_itself(tmp_path: Path) -> None:
    data = loaded(letters(tmp_path))
    for batch in data.eval_batches("val"):
        for x_TD in batch.inputs.reshape(batch.batch_size, -1, 8):
            torch.testing.assert_close(x_TD.mean(0), torch.zeros(8), atol=1e-3, rtol=0)
            torch.testing.assert_close(x_TD.std(0, correction=0), torch.ones(8), atol=1e-3, rtol=0)


def test_train_statistics_come_from_train_alone(tmp_path: Path) -> None:
    data = loaded(letters(tmp_path, normalize="train", batch_size=100))
    [batch] = data.train_batches(0, 0)
    rows = [x[:length].reshape(-1, 8) for x, length in zip(batch.inputs, batch.lengths_B, strict=True)]
    x_NM = torch.cat(rows)
    torch.testing.assert_close(x_NM.mean(0), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(x_NM.std(0, correction=0), torch.ones(8), atol=1e-3, rtol=0)
    write_wav(tmp_path / "a_ann_0.wav", 3 * tone(900.0, 0.3))  # validation
    again = loaded(Audio(str(tmp_path), pattern=PATTERN, target="label", val="index:0", normalize="train", **SMALL))
    assert again.codec.state_dict() == data.codec.state_dict()


@pytest.mark.parametrize("bucket", [True, False])
def test_every_recording_is_read_once_an_epoch(tmp_path: Path, bucket: bool) -> None:
    data = loaded(letters(tmp_path, bucket=bucket))
    batches = list(data.train_batches(1, 0))
    assert len(batches) == data.num_train_batches(1, 0) == 5
    assert sum(batch.batch_size for batch in batches) == 18
    labels = np.bincount(np.concatenate([batch.targets.numpy() for batch in batches]))
    assert labels.tolist() == [6, 6, 6]


def test_masks_fall_on_training_batches_and_depend_on_their_number(tmp_path: Path) -> None:
    plain, masked = loaded(letters(tmp_path)), loaded(letters(tmp_path, time_masks=1, freq_masks=2))
    pairs = list(zip(plain.train_batches(0, 0), masked.train_batches(0, 0), strict=True))
    assert any(not torch.equal(a.inputs, b.inputs) for a, b in pairs)
    assert all(torch.equal(a.targets, b.targets) for a, b in pairs)
    later = list(masked.train_batches(0, 0, start=2))
    assert differences([vars(b) for b in later], [vars(b) for _, b in pairs[2:]]) == []
    assert not torch.equal(next(masked.train_batches(0, 1)).inputs, pairs[0][1].inputs)
    for a, b in zip(plain.eval_batches("val"), masked.eval_batches("val"), strict=True):
        assert torch.equal(a.inputs, b.inputs)


def test_transcript_longer_than_its_steps_names_the_file(tmp_path: Path) -> None:
    """Eight letters at 20 ms a step need eight steps, and one more for each pair."""
    data = with_transcripts(tmp_path, ["abcabcab", "abc"])
    write_wav(tmp_path / "0.wav", tone(440.0, 0.025 + 0.010 * 15))  # 16 frames, 8 steps
    data.load()
    (tmp_path / "list.csv").write_text("file,text,split\n0.wav,abccabca,train\n1.wav,abc,dev\n")
    with pytest.raises(UserError) as caught:
        data.load()
    assert str(caught.value).startswith(f"{tmp_path / 'list.csv'}:2 (0.wav): its transcript needs 9 steps (8 symbols")
    assert "has 8 of 2 frames" in str(caught.value)


def test_recording_shorter_than_a_step_is_named(tmp_path: Path) -> None:
    data = letters(tmp_path)
    write_wav(tmp_path / "a_ann_2.wav", tone(440.0, 0.03))
    with pytest.raises(UserError, match=r"a_ann_2\.wav: too short for 2 frames"):
        data.load()


def test_other_rates_are_refused_or_converted(tmp_path: Path) -> None:
    data = letters(tmp_path)
    write_wav(tmp_path / "b_bob_1.wav", tone(440.0, 0.3, 16000), 16000)
    with pytest.raises(UserError, match=r"b_bob_1\.wav: has 16000 samples a second, not 8000"):
        data.load()
    data.resample = True
    data.load()
    assert data.codec.inputs.settings.sample_rate == 8000


def test_unknown_labels_and_symbols_of_validation_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"c_ann_0\.wav: no recording for training has the label 'c'"):
        loaded(letters(tmp_path / "letters", val="label:c"))
    with pytest.raises(UserError, match=r"list\.csv:3 \(1\.wav\): 'c' in the transcript, not among the 2 symbols"):
        loaded(with_transcripts(tmp_path / "more", ["abab", "abc"]))
    with pytest.raises(UserError, match="all recordings for training have the label 'a'"):
        loaded(letters(tmp_path / "letters", test=["label:b", "label:c"]))


def test_codec_of_a_checkpoint_is_taken_as_it_is(tmp_path: Path) -> None:
    codec = ClassCodec.from_state(loaded(letters(tmp_path, normalize="train")).codec.state_dict())
    again = letters(tmp_path, normalize="train", val="index:1")
    again.load(codec)
    assert again.codec is codec
    with pytest.raises(UserError, match=r"data\.target=text: .*set data\.target=label"):
        Audio(str(tmp_path), pattern=PATTERN, val="index:0", **SMALL).load(codec)


def test_fingerprint_tells_changed_files(tmp_path: Path) -> None:
    first = loaded(letters(tmp_path)).fingerprint()
    assert loaded(letters(tmp_path)).fingerprint() == first
    write_wav(tmp_path / "a_ann_1.wav", tone(440.0, 0.2))
    data = Audio(str(tmp_path), pattern=PATTERN, target="label", val="index:0", **SMALL)
    assert loaded(data).fingerprint()["sha256"] != first["sha256"]


def test_options_that_need_others_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.lm_order=3"):
        Audio("x", lm_path="y")
    with pytest.raises(UserError, match=r"data\.target=text"):
        Audio("x", target="label", lm_order=2)


# -- strings of recordings ---


def strings(folder: Path, **options: Any) -> JoinedAudio:
    write_letters(folder, per_speaker=5)
    chosen = {"pattern": PATTERN, "val": "index:0", "num_mels": 8, "batch_size": 3, "stack": 2}
    data = JoinedAudio(str(folder), **{**chosen, "min_joined": 2, "max_joined": 4, **options})
    data.load()
    return data


def texts(data: JoinedAudio, seed: int, epoch: int) -> list[str]:
    codec = data.codec
    assert isinstance(codec, TranscriptCodec)
    return [
        codec.decode(row[:length])
        for batch in data.train_batches(seed, epoch)
        for row, length in zip(batch.targets.tolist(), batch.target_lengths_B.tolist(), strict=True)
    ]


def test_strings_use_each_recording_at_most_once_and_agree_in_the_speaker(tmp_path: Path) -> None:
    data = strings(tmp_path)
    plans, batches = data._plan_epoch(0, 0)
    used = np.concatenate([plan.members for plan in plans])
    assert len(used) == len(set(used.tolist())) >= 24 - 2 * 1
    assert all(2 <= len(plan.members) <= 4 for plan in plans)
    recordings = data._recordings["train"]
    for plan in plans:
        assert len({recordings[i].entry.fields["speaker"] for i in plan.members}) == 1
    assert len(batches) == data.num_train_batches(0, 0)


def test_strings_are_new_each_epoch_and_a_function_of_seed_and_epoch(tmp_path: Path) -> None:
    data = strings(tmp_path)
    assert texts(data, 0, 0) == texts(data, 0, 0)
    assert texts(data, 0, 0) != texts(data, 0, 1)
    assert texts(data, 0, 0) != texts(data, 1, 0)


def test_strings_of_validation_are_fixed_and_of_its_own_recordings(tmp_path: Path) -> None:
    data = strings(tmp_path)
    names = {part for line in data.examples("val", 100) for part in line.split(": ")[0].split(" + ")}
    assert names
    assert all(name.endswith("_0.wav") for name in names)
    again = strings(tmp_path)
    for a, b in zip(data.eval_batches("val"), again.eval_batches("val"), strict=True):
        assert differences(vars(a), vars(b)) == []


def test_training_strings_are_evaluated_as_those_of_one_epoch(tmp_path: Path) -> None:
    data = strings(tmp_path)
    rows = sum(len(batch.inputs) for batch in data.eval_batches("train"))
    assert rows == sum(len(batch.inputs) for batch in data.train_batches(0, 0))


def test_string_is_its_recordings_and_pauses_in_turn(tmp_path: Path) -> None:
    data = strings(tmp_path, noise_db=-200.0)
    plan = data._plan_epoch(0, 0)[0][0]
    recordings = data._recordings["train"]
    samples_S = data._samples(recordings, plan)
    first, pause = recordings[plan.members[0]].samples_S, plan.pauses[0]
    np.testing.assert_allclose(samples_S[pause : pause + len(first)], first, atol=1e-6)
    assert np.abs(samples_S[:pause]).max() < 1e-6
    assert len(samples_S) == sum(len(recordings[i].samples_S) for i in plan.members) + plan.pauses.sum()


def test_strings_refuse_what_cannot_be_joined(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.join_field=spkr: there is only label, speaker, index"):
        strings(tmp_path, join_field="spkr")
    with pytest.raises(UserError, match=r"data\.min_joined=9 is more than data\.max_joined=4"):
        strings(tmp_path, min_joined=9)
    with pytest.raises(UserError, match=r"data\.min_joined=4: no speaker of val has more than 3"):
        strings(tmp_path, min_joined=4)


@pytest.mark.parametrize("normalize", ["utterance", "train"])
def test_strings_take_the_codec_of_a_checkpoint(tmp_path: Path, normalize: str) -> None:
    first = strings(tmp_path, normalize=normalize, lm_order=2)
    codec = TranscriptCodec.from_state(first.codec.state_dict())
    again = JoinedAudio(str(tmp_path), pattern=PATTERN, val="index:0", num_mels=8, batch_size=3, stack=2, min_joined=2)
    again.load(codec)
    assert again.codec is codec
    for a, b in zip(first.eval_batches("val"), strings(tmp_path, normalize=normalize).eval_batches("val"), strict=True):
        assert differences(vars(a), vars(b)) == []
