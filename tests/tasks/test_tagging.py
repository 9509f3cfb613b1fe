"""Tagging: spans are scored as seqeval does, rules are kept, what is shown is what was read."""

# B batch, T time, K tags

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from training import make_config

from rnntrain import commands, using
from rnntrain.batch import Batch
from rnntrain.build import Experiment, build, build_model
from rnntrain.data.spelt_words import FIRST_CHAR, NUM_CHARS, SHAPE, UNKNOWN_ID, WORD
from rnntrain.data.tagged.bio import first_violation
from rnntrain.data.tagged.tag_codec import TagCodec
from rnntrain.errors import UserError
from rnntrain.models.tag_head import TagHead, TagScores
from rnntrain.models.word_input import WordInput
from rnntrain.tasks.spans import SpanCounts
from rnntrain.tasks.tagging import Tagging, rules_of
from rnntrain.tasks.tagging_metrics import Results, TaggingMetrics
from rnntrain.watching.pictures import pixels
from tasks.cases import write_tagged

TAGS = ["B-a", "B-b", "I-a", "I-b", "O"]


def experiment_of(folder: Path, path: Path | None = None, **task: Any) -> Experiment:
    """Build a small tagger of the sentences of a file; half of them are for validation."""
    task = {"_target_": "rnntrain.tasks.tagging.Tagging", "char_size": 12, **task}
    data = {
        "_target_": "rnntrain.data.tagged.columns.Columns",
        "path": str(path or write_tagged(folder)),
        "batch_size": 4,
    }
    changes = {"task": task, "data": {**data, "val_fraction": 0.5}, "model.embedding_size": 32}
    return build(make_config(folder / "none.txt", changes))


def codec_of(*tags: str) -> TagCodec:
    return TagCodec.fit([([f"w{n}" for n in range(len(tags))], tags)])


def batch_of(tags_BT: list[list[int]], lengths: list[int] | None = None) -> Batch:
    targets_BT = torch.tensor(tags_BT)
    inputs_BTF = torch.zeros(*targets_BT.shape, FIRST_CHAR + 1, dtype=torch.int64)
    return Batch(inputs_BTF, targets_BT, None if lengths is None else torch.tensor(lengths))


def certain(tags_BT: list[list[int]], num_tags: int) -> TagScores:
    """Return scores by which the given tags are the best."""
    return TagScores(torch.nn.functional.one_hot(torch.tensor(tags_BT), num_tags) * 9.0)


# -- metrics ---


def test_scores_are_those_of_seqeval() -> None:
    """Over random tag sequences, most of which break the rules of BIO."""
    metrics = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed")
    rng = random.Random(0)
    for _ in range(60):
        lengths = [rng.randrange(1, 9) for _ in range(rng.randrange(1, 12))]
        true = [[rng.choice(TAGS) for _ in range(length)] for length in lengths]
        predicted = [[tag if rng.random() < 0.6 else rng.choice(TAGS) for tag in tags] for tags in true]
        counts = SpanCounts()
        for a, b in zip(true, predicted, strict=True):
            counts.add(a, b)
        found = counts.metrics(["a", "b"])
        report = metrics.classification_report(true, predicted, output_dict=True, zero_division=0)
        assert found["precision"] == pytest.approx(metrics.precision_score(true, predicted, zero_division=0))
        assert found["recall"] == pytest.approx(metrics.recall_score(true, predicted, zero_division=0))
        assert found["f1"] == pytest.approx(metrics.f1_score(true, predicted, zero_division=0))
        for kind in ("a", "b"):
            assert found[f"f1/{kind}"] == pytest.approx(report.get(kind, {"f1-score": 0})["f1-score"])


def test_spans_count_only_as_a_whole() -> None:
    counts = SpanCounts()
    counts.add(["B-a", "I-a", "O", "B-b"], ["B-a", "O", "O", "B-b"])
    counts.add(["O"], ["B-a"])
    assert counts.metrics(["a", "b"]) == pytest.approx(
        {"precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5, "f1/a": 0, "f1/b": 1}
    )


def test_nothing_found_and_nothing_there_are_zero() -> None:
    counts = SpanCounts()
    counts.add(["O"], ["O"])
    assert counts.metrics(["a"]) == {"precision": 0, "recall": 0, "f1": 0, "f1/a": 0}


def test_metrics_leave_out_padding() -> None:
    codec = codec_of(*TAGS)
    metrics = TaggingMetrics(codec)
    true, predicted = [[0, 2, 4], [1, 0, 0]], [[0, 2, 4], [0, 1, 1]]
    metrics.update(certain(predicted, 5), batch_of(true, [3, 1]), torch.tensor(2.0), torch.tensor(4.0))
    values = metrics.compute()
    assert values["loss"] == 0.5
    assert values["accuracy"] == 3 / 4
    assert values["f1"] == pytest.approx(1 / 2)
    assert metrics.results().confusion()[0].sum() == 4


def test_tags_that_mark_no_spans_have_accuracy_alone(tmp_path: Path) -> None:
    path = tmp_path / "pos"
    path.write_text("Hi UH\nyou PRP\n\nyou PRP\n\n" * 4, encoding="utf-8")
    experiment = experiment_of(tmp_path, path, rules="decoding")
    assert experiment.task.monitor == "accuracy"
    metrics = experiment.trainer.measure("val", lambda state: None)
    assert metrics.compute().keys() == {"loss", "accuracy"}
    assert metrics.pictures().keys() == {"confusion"}
    assert experiment.model(next(experiment.data.train_batches(0, 0)))[0].rules is None
    assert "/PRP" in experiment.task.illustrate(experiment.model, experiment.data, 0)["predictions"]
    assert experiment.task.baselines(experiment.data, "val")["most frequent tag"]["accuracy"] == 1


def test_what_is_watched_follows_the_tags(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    assert experiment.task.monitor == "f1"
    assert experiment.task.larger_is_better


def test_pictures_are_drawn_from_the_whole_pass() -> None:
    codec = codec_of(*TAGS)
    metrics = TaggingMetrics(codec)
    for tags in ([[0, 2, 4]], [[1, 4, 4]]):
        metrics.update(certain(tags, 5), batch_of(tags), torch.tensor(1.0), torch.tensor(3.0))
    confusion, names = metrics.results().confusion()
    assert names == ["O", "a", "b"]
    assert confusion.tolist() == [[3, 0, 0], [0, 2, 0], [0, 0, 1]]
    figures = {title: draw() for title, draw in metrics.pictures().items()}
    assert figures.keys() == {"confusion", "f1 by type"}
    assert all(pixels(figure).std() > 0 for figure in figures.values())


# -- rules ---


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("tags", [TAGS, ["B-a", "E-a", "I-a", "O", "S-a"]], ids=["bio", "bioes"])
def test_what_is_decoded_keeps_the_rules(crf: bool, tags: list[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    codec = codec_of(*(["B-a", "I-a", "O", "B-b", "I-b"] if tags == TAGS else ["B-a", "I-a", "E-a", "O", "S-a"]))
    assert codec.tags == tags
    head = TagHead(8, 5, crf=crf, rules=rules_of(codec))
    ends = "S-a" in tags
    y_BTH = 20 * torch.randn(50, 6, 8, generator=generator)
    rows = head(y_BTH).best(None).tolist()
    assert all(first_violation([tags[tag] for tag in row], ends) is None for row in rows)
    free = TagHead(8, 5, crf=crf)(y_BTH).best(None).tolist()
    assert any(first_violation([tags[tag] for tag in row], ends) is not None for row in free)


def test_training_by_rules_leaves_probability_to_what_they_allow() -> None:
    codec = codec_of("B-a", "I-a", "O")
    bound = TagHead(4, 3, crf=True, rules=rules_of(codec), train_by_rules=True)
    free = TagHead(4, 3, crf=True, rules=rules_of(codec))
    free.load_state_dict(bound.state_dict())
    y_BTH, tags_BT = torch.randn(2, 5, 4), torch.tensor([[0, 1, 2, 0, 1], [2, 2, 0, 0, 1]])
    assert (bound(y_BTH).loss(tags_BT, None) < free(y_BTH).loss(tags_BT, None)).all()


def test_rules_do_not_bind_where_training_breaks_them(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_text("a I-x\nb O\n\nc I-x\n\n" * 4, encoding="utf-8")
    data = {"_target_": "rnntrain.data.tagged.columns.Columns", "path": str(path), "bio": "keep", "val_fraction": 0.5}
    task = {"_target_": "rnntrain.tasks.tagging.Tagging", "char_size": 12, "crf": True, "rules": "training"}
    changes = {"task": task, "data": data, "model.embedding_size": 32}
    experiment = build(make_config(tmp_path / "none.txt", changes))
    output, _ = experiment.model(next(experiment.data.train_batches(0, 0)))
    assert output.rules is None


def test_rules_of_training_need_a_crf() -> None:
    with pytest.raises(UserError, match=r"set task\.crf=true"):
        Tagging(rules="training")


def test_a_bias_finds_more_spans_and_leaves_the_loss_alone(tmp_path: Path) -> None:
    plain, biased = (experiment_of(tmp_path, crf=True, span_bias=bias) for bias in (0.0, 3.0))
    biased.model.load_state_dict(plain.model.state_dict())
    found = [each.trainer.measure("val", lambda state: None) for each in (plain, biased)]
    assert found[0].compute()["loss"] == found[1].compute()["loss"]
    spans = [metrics.results().spans.predicted.total() for metrics in found]
    assert spans[0] < spans[1]


# -- the input layer ---


def layer_of(codec: TagCodec, size: int = 40, **options: Any) -> WordInput:
    given = {"char_features": "cnn", "char_size": 12, "shape": True, "once_dropout": 0.0, "word_dropout": 0.0}
    return WordInput(codec, size, **(given | options))


def words(codec: TagCodec, *tokens: str) -> torch.Tensor:
    return torch.from_numpy(codec.encode(tokens)).long()[None]


SENTENCES = [(["often", "often", "once", "Twice", "Twice"], ["O", "O", "B-x", "O", "O"])]


@pytest.mark.parametrize("char_features", ["cnn", "lstm", "ngrams", "none"])
@pytest.mark.parametrize("shape", [True, False])
def test_width_is_that_asked_for(char_features: str, shape: bool) -> None:
    codec = TagCodec.fit(SENTENCES)
    layer = layer_of(codec, char_features=char_features, shape=shape)
    assert layer(words(codec, "often", "x")).shape == (1, 2, 40)


@pytest.mark.parametrize("char_features", ["cnn", "lstm", "ngrams"])
def test_spelling_does_not_depend_on_longer_neighbours(char_features: str) -> None:
    """Nor on what stands beyond a word's last character, which its number of characters tells."""
    codec = TagCodec.fit(SENTENCES)
    layer = layer_of(codec, char_features=char_features)
    alone = layer(words(codec, "once"))
    beside = words(codec, "once", "oftenoften")
    torch.testing.assert_close(layer(beside)[:, :1], alone)
    beside[0, 0, FIRST_CHAR + 4 :] = 3
    torch.testing.assert_close(layer(beside)[:, :1], alone)


def test_spelling_tells_unknown_words_apart() -> None:
    codec = TagCodec.fit(SENTENCES)
    first, second = layer_of(codec)(words(codec, "oftem", "ecno"))[0]
    assert not torch.equal(first, second)
    plain = layer_of(codec, char_features="none", shape=False)
    first, second = plain(words(codec, "oftem", "ecno"))[0]
    assert torch.equal(first, second)


def test_rare_words_become_unknown_in_training_alone() -> None:
    codec = TagCodec.fit(SENTENCES)
    layer = layer_of(codec, char_features="none", shape=False, once_dropout=0.5)
    inputs = words(codec, *["once", "often"] * 400)
    unknown_D = layer.word.weight[UNKNOWN_ID]
    torch.manual_seed(0)
    dropped = (layer(inputs)[0] == unknown_D).all(-1)
    assert 150 < int(dropped[0::2].sum()) < 250
    assert not dropped[1::2].any()
    layer.word_dropout = 0.25
    dropped = (layer(inputs)[0] == unknown_D).all(-1)
    assert 150 < int(dropped[0::2].sum()) < 250
    assert 60 < int(dropped[1::2].sum()) < 140
    assert not (layer.eval()(inputs)[0] == unknown_D).all(-1).any()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"size": 20}, "model.embedding_size=20: spelling and shape take 20"),
        ({"char_features": "lstm", "char_size": 13}, "task.char_size=13"),
    ],
)
def test_widths_that_do_not_fit_are_refused(options: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=part):
        layer_of(TagCodec.fit(SENTENCES), **options)


# -- vectors ---


def test_embedding_starts_from_vectors_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("slept 1 2 3\nnone 0 0 0\nrome 4 5 6\nUlm 7 8 9\nulm 0 0 1\n", encoding="utf-8")
    changes = {"char_features": "none", "shape": False, "vectors": str(vectors)}
    with pytest.raises(UserError, match=r"vectors of 3 numbers.*set model\.embedding_size=3"):
        experiment_of(tmp_path, **changes)
    task = Tagging(**changes)
    codec = experiment_of(tmp_path).data.codec
    capsys.readouterr()
    weight = task.input_layer(codec, 3).word.weight
    rows = {word: weight[number].tolist() for number, word in enumerate(codec.words)}
    assert (rows["slept"], rows["Rome"], rows["Ulm"]) == ([1, 2, 3], [4, 5, 6], [7, 8, 9])
    assert f"found 3 of {len(codec.words)} words" in capsys.readouterr().err


def test_a_checkpoint_needs_no_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in its weights; the file may be gone."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("slept " + "1 " * 11 + "1\n", encoding="utf-8")
    config = experiment_of(tmp_path, char_features="none", shape=False).config
    task = {**config.plain["task"], "vectors": str(vectors)}
    model = {**config.plain["model"], "embedding_size": 12}
    limits = {"max_steps": 1, "eval_every_steps": 1}
    run = {**config.plain["run"], "dir": str(tmp_path / "run")}
    plain = {**config.plain, "task": task, "model": model, "trainer": limits, "run": run}
    from rnntrain.config import check

    trained = commands.train(check(plain), quiet=True)
    vectors.unlink()
    loaded = using.load(trained.run.path)
    assert torch.equal(loaded.model.input.word.weight, trained.experiment.model.input.word.weight)
    again = Tagging(char_features="none", shape=False, vectors=str(vectors))
    assert build_model(check(plain), again, loaded.codec) is not None


# -- what people read ---


def test_sentences_are_shown_as_they_were_written(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    text = experiment.task.illustrate(experiment.model, experiment.data, 0)["predictions"]
    tokens, _ = next(its for its in experiment.data.sentences("val") if set(its[1]) != {"O"})
    assert all(token in text for token in tokens)
    assert "<unk>" not in text
    assert "true: " in text


def test_decoding_knows_the_vocabulary_alone(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    codec = experiment.data.codec
    batch = batch_of([[0, 0, 0], [0, 0, 0]], [3, 1])
    number = codec.words.index("slept")
    batch.inputs[0, :, WORD] = torch.tensor([number, UNKNOWN_ID, number])
    tags = [[codec.tags.index(tag) for tag in ("O", "B-person", "O")]] * 2
    assert experiment.task.decode(certain(tags, len(codec.tags)), batch, codec) == [
        "slept [person: <unk>] slept",
        "<unk>",
    ]


def test_the_baseline_gives_each_word_its_most_frequent_tag(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("a B-x\nb O\na B-x\n\na O\nb O\nc O\n\na B-x\nd B-x\n\nb O\na O\n", encoding="utf-8")
    experiment = experiment_of(tmp_path, path)
    values = experiment.task.baselines(experiment.data, "val")["most frequent tag"]
    # a is B-x in two of three places of the training half; d is unknown there, and so O
    assert values["accuracy"] == 2 / 4
    assert values["precision"] == 1 / 2
    # the spans of validation are "a" followed by B-x d: two of them
    assert values["recall"] == 1 / 2


def test_features_of_padding_carry_nothing(tmp_path: Path) -> None:
    batch = next(b for b in experiment_of(tmp_path).data.train_batches(0, 0) if b.lengths_B is not None)
    row = int(batch.lengths_B.argmin())
    rest = batch.inputs[row, int(batch.lengths_B[row]) :]
    assert not rest[:, [WORD, SHAPE, NUM_CHARS]].any()


def test_results_agree_with_the_metrics_of_a_pass(tmp_path: Path) -> None:
    """The baseline and the model are measured by one yardstick."""
    codec = codec_of(*TAGS)
    results = Results(codec)
    results.add(["B-a", "I-a", "O"], ["B-a", "I-a", "B-b"])
    metrics = TaggingMetrics(codec)
    metrics.update(certain([[0, 2, 1]], 5), batch_of([[0, 2, 4]]), torch.tensor(1.0), torch.tensor(3.0))
    assert metrics.compute() == {"loss": pytest.approx(1 / 3), **results.metrics()}
