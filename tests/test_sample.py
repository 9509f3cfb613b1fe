"""Text that is drawn: from the right distribution, one step a token, and streamed as it is in whole."""

# B samples, T time, V vocabulary

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training import CELLS, make_experiment, words

from rnntrain.batch import Batch
from rnntrain.build import Experiment
from rnntrain.data.codecs import ByteCodec, TextCodec
from rnntrain.errors import UserError
from rnntrain.sample import DrawOptions, SamplingOptions, TextStream, draw, generate, sample_text, stream_text


def choose(logits_BV: Tensor, options: SamplingOptions, generator: torch.Generator) -> Tensor:
    """Draw one token a row, all by the same options."""
    uniform_B = torch.rand(len(logits_BV), generator=generator, dtype=torch.float64)
    return draw(logits_BV, uniform_B, DrawOptions.of([options] * len(logits_BV)))


UNITS: dict[str, dict[str, Any]] = {
    "char": {},
    "byte": {"data.unit": "byte"},
    "word": {"data.unit": "word", "data.max_vocab": 12},
    "bpe": {"data.unit": "bpe", "data.vocab_size": 270},
}
TEXT = "Füße\n– 日本 😀 Füße\n– 日本 😀\n" + words(120)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Experiment]:
    """Build an untrained model on a text with characters of one to four bytes."""

    def make(unit: str = "char", changes: dict[str, Any] | None = None, cell: str = "lstm") -> Experiment:
        if unit == "bpe":
            pytest.importorskip("tokenizers", reason="the unit bpe needs the package tokenizers")
        path = tmp_path / "text.txt"
        path.write_text(TEXT, encoding="utf-8")
        changes = {**UNITS[unit], "data.val_fraction": 0.2, "data.bptt": 4, **(changes or {})}
        experiment = make_experiment(path, changes, cell=cell)
        with torch.no_grad():
            for parameter in experiment.model.parameters():  # further from uniform than a new model is
                parameter.mul_(2.5)
        return experiment

    return make


def drawn(experiment: Experiment, prompt: str = "", **options: Any) -> list[list[int]]:
    """Return the tokens of each sample."""
    tokens = generate(experiment.model, experiment.data.codec, prompt, SamplingOptions(**options))
    return torch.stack(list(tokens)).t().tolist()


# -- the steps ---


@pytest.mark.parametrize("cell", CELLS)
def test_steps_equal_the_full_forward(make, cell: str) -> None:
    """Greedy, each token is the likeliest after all before it, by the whole sequence at once."""
    experiment = make(changes={"model.num_layers": 2, "model.residual": True, "model.norm": True}, cell=cell)
    codec = experiment.data.codec
    prompt = "the grey sea "
    [tokens] = drawn(experiment, prompt, length=30, temperature=0)
    whole = torch.tensor([codec.encode(prompt).tolist() + tokens])
    experiment.model.eval()
    with torch.no_grad():
        logits_TV = experiment.model(Batch(whole[:, :-1], whole[:, 1:]))[0].compute()[0]
    logits_TV[:, codec.unknown_id] = -torch.inf
    start = len(codec.encode(prompt)) - 1
    assert logits_TV[start:].argmax(1).tolist() == tokens
    assert len(set(logits_TV.argmax(1).tolist())) > 1


def test_samples_are_drawn_side_by_side(make) -> None:
    """Greedy, every sample is the same; else they differ, and how many steps are taken changes none of them."""
    experiment = make()
    greedy = drawn(experiment, "the", length=10, num_samples=3, temperature=0)
    assert greedy[0] == greedy[1] == greedy[2] == drawn(experiment, "the", length=10, temperature=0)[0]
    free = drawn(experiment, "the", length=20, num_samples=3, temperature=1.0)
    assert len({tuple(sample) for sample in free}) == 3
    assert [sample[:7] for sample in free] == drawn(experiment, "the", length=7, num_samples=3, temperature=1.0)


def test_cost_of_a_token_does_not_grow(make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of one token each, whatever came before, on a state that keeps its size."""
    experiment = make()
    model = experiment.model
    sizes: list[int] = []
    step = model.step

    def counted(inputs_B: Tensor, state: Any) -> Any:
        sizes.append(inputs_B.numel() + sum(part.numel() for layer in state for part in layer))
        assert all(part.grad_fn is None for layer in state for part in layer)
        return step(inputs_B, state)

    monkeypatch.setattr(model, "step", counted)
    monkeypatch.setattr(model, "forward", None)
    drawn(experiment, "the sea", length=50, num_samples=2)
    assert len(sizes) == len("the sea") - 1 + 50
    assert len(set(sizes)) == 1


def test_stream_holds_few_tokens(make) -> None:
    stream = TextStream(make("byte").data.codec)
    longest = 0
    for token in random.Random(0).choices(range(256), k=2000):
        stream.push(token)
        longest = max(longest, len(stream._ids))
    assert longest < 20


def test_text_comes_as_it_is_drawn(make) -> None:
    experiment = make()
    pieces = stream_text(experiment.model, experiment.data.codec, "the", SamplingOptions(length=10**9))
    assert "".join(itertools.islice(pieces, 6)).startswith("the")


# -- reproducible, and leaving all else alone ---


def test_seed_makes_it_reproducible(make) -> None:
    experiment = make()
    first, again, other = (drawn(experiment, length=40, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("training", [True, False])
def test_sampling_leaves_generators_and_mode_alone(make, training: bool) -> None:
    experiment = make(changes={"model.output_dropout": 0.5})
    experiment.model.train(training)
    state, python = torch.get_rng_state(), random.getstate()
    numpy = np.random.get_state()[1].copy()  # type: ignore[index]
    texts = {sample_text(experiment.model, experiment.data.codec, options=SamplingOptions(length=20)) for _ in range(2)}
    assert len(texts) == 1  # dropout is off
    assert experiment.model.training is training
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert (np.random.get_state()[1] == numpy).all()  # type: ignore[index]


def test_mode_comes_back_when_the_reader_stops(make) -> None:
    experiment = make()
    experiment.model.train()
    tokens = generate(experiment.model, experiment.data.codec, "the", SamplingOptions(length=100))
    next(tokens)
    tokens.close()
    assert experiment.model.training


# -- what may be drawn ---


@pytest.mark.parametrize("unit", ["char", "word"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_unknown_is_never_drawn(make, unit: str, temperature: float) -> None:
    experiment = make(unit)
    unknown = experiment.data.codec.unknown_id
    with torch.no_grad():
        experiment.model.head.bias[unknown] = 50.0
    assert unknown not in itertools.chain(*drawn(experiment, length=60, num_samples=3, temperature=temperature))


def test_prompt_outside_the_vocabulary_is_refused(make) -> None:
    experiment = make()
    with pytest.raises(UserError, match="Q"):
        drawn(experiment, "Q", length=3)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("prompt", ["", " ", "\n", " \n "])
def test_prompt_without_words_begins_at_a_line(make, unit: str, prompt: str) -> None:
    assert len(drawn(make(unit), prompt, length=3)[0]) == 3


# -- the distribution ---

LOGITS_V = torch.tensor([1.0, -0.5, 2.0, 0.3, -3.0, 1.9, 0.29, -torch.inf])


def shares(options: SamplingOptions, logits_V: Tensor = LOGITS_V, number: int = 40_000) -> Tensor:
    generator = torch.Generator().manual_seed(options.seed)
    return choose(logits_V.expand(number, -1), options, generator).bincount(minlength=len(logits_V)) / number


def close(shares_V: Tensor, probs_V: Tensor) -> None:
    assert (shares_V[probs_V == 0] == 0).all()
    torch.testing.assert_close(shares_V.double(), probs_V.double(), rtol=0, atol=0.012)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    close(shares(SamplingOptions(temperature=temperature)), (LOGITS_V / temperature).softmax(0))


def test_no_temperature_takes_the_likeliest() -> None:
    assert shares(SamplingOptions(temperature=0))[2] == 1


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300])
def test_any_low_temperature_takes_the_likeliest(temperature: float) -> None:
    assert shares(SamplingOptions(temperature=temperature), 50 * LOGITS_V, 100)[2] == 1


@pytest.mark.parametrize("top_k", [1, 2, 5, 8, 100])
def test_top_k_keeps_the_k_likeliest(top_k: int) -> None:
    kept = sorted(range(8), key=lambda i: -float(LOGITS_V[i]))[:top_k]
    expected = torch.tensor([float(LOGITS_V[i]) if i in kept else -torch.inf for i in range(8)]).softmax(0)
    close(shares(SamplingOptions(temperature=1.0, top_k=top_k)), expected)


def test_top_k_keeps_no_more_where_logits_are_equal() -> None:
    assert (shares(SamplingOptions(temperature=1.0, top_k=3), torch.zeros(8)) > 0).sum() == 3


@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.4, 0.8, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_top_p_keeps_the_fewest_that_hold_the_share(top_p: float, temperature: float) -> None:
    probs_V = (LOGITS_V / temperature).softmax(0).tolist()
    kept, held = set(), 0.0
    for index in sorted(range(8), key=lambda i: -probs_V[i]):
        if held < top_p:
            kept.add(index)
        held += probs_V[index]
    expected = torch.tensor([probs_V[i] if i in kept else 0.0 for i in range(8)])
    close(shares(SamplingOptions(temperature=temperature, top_p=top_p)), expected / expected.sum())


def test_top_p_comes_after_top_k() -> None:
    """The share is of what top-k has left."""
    expected = torch.zeros(8)
    expected[[2, 5]] = LOGITS_V[[2, 5]].softmax(0)
    assert LOGITS_V[[2, 5, 0]].softmax(0)[:2].sum() > 0.7 > LOGITS_V.softmax(0)[[2, 5]].sum()
    close(shares(SamplingOptions(temperature=1.0, top_k=3, top_p=0.7)), expected)


def test_each_row_has_a_distribution_of_its_own() -> None:
    logits_BV = torch.full((3, 4), -torch.inf)
    logits_BV[[0, 1, 2], [3, 0, 2]] = 0.0
    for options in (SamplingOptions(top_k=2), SamplingOptions(top_p=0.5), SamplingOptions(temperature=0)):
        assert choose(logits_BV, options, torch.Generator()).tolist() == [3, 0, 2]


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"top_p": 0.5}])
def test_a_model_that_has_diverged_gives_tokens_all_the_same(options: dict[str, Any]) -> None:
    """At an evaluation, before the next training step says that it is not finite."""
    logits_BV = torch.full((3, 5), torch.nan)
    logits_BV[1] = torch.inf
    drawn_B = choose(logits_BV, SamplingOptions(**options), torch.Generator().manual_seed(0))
    assert ((drawn_B >= 0) & (drawn_B < 5)).all()


def test_logits_are_left_as_they_are() -> None:
    logits_BV = LOGITS_V.repeat(2, 1)
    choose(logits_BV, SamplingOptions(temperature=0.7, top_k=3, top_p=0.5), torch.Generator())
    assert torch.equal(logits_BV, LOGITS_V.repeat(2, 1))


# -- streaming ---


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("prompt", ["", "the sea", "was a\ngrey", "the  sea \n", "Füße\n– 日本 😀\n"])
def test_streamed_text_equals_the_whole(make, unit: str, prompt: str) -> None:
    experiment = make(unit, {"data.max_vocab": None} if unit == "word" else None)
    model, codec = experiment.model, experiment.data.codec
    for seed in range(4):
        options = SamplingOptions(length=60, seed=seed, temperature=2.0)
        pieces = list(stream_text(model, codec, prompt, options))
        assert "".join(pieces) == sample_text(model, codec, prompt, options)
        assert len(pieces) >= 60


def streamed(codec: TextCodec, context: list[int], tokens: list[int]) -> str:
    stream = TextStream(codec, context)
    return "".join(stream.push(token) for token in tokens) + stream.rest()


@pytest.mark.parametrize("unit", ["byte", "bpe"])
def test_characters_cut_over_tokens_come_whole(make, unit: str) -> None:
    codec = make(unit).data.codec
    text = "aé–日本😀\ufffd z" * 3
    tokens = codec.encode(text).tolist()
    stream = TextStream(codec)
    pieces = [stream.push(token) for token in tokens]
    assert "".join(pieces) + stream.rest() == text
    assert "\ufffd" not in "".join(pieces).replace("\ufffd z", "")


def test_any_bytes_stream_as_they_decode() -> None:
    """Also what is no UTF-8, as a model at the beginning of its training writes."""
    codec, rng = ByteCodec(), random.Random(0)
    telling = [0x41, 0x80, 0x82, 0xAC, 0xBF, 0xC3, 0xE2, 0xE0, 0xED, 0xF0, 0xF4, 0x9F, 0x98, 0xBD, 0xEF]
    for _ in range(3000):
        tokens = rng.choices(telling, k=rng.randrange(40))
        context = codec.encode(codec.decode(rng.choices(telling, k=rng.randrange(6)))).tolist()
        assert codec.decode(context) + streamed(codec, context, tokens) == codec.decode(context + tokens)


def test_several_samples_stand_under_headings(make) -> None:
    experiment = make()
    model, codec = experiment.model, experiment.data.codec
    text = "".join(stream_text(model, codec, "the", SamplingOptions(length=8, num_samples=2, seed=5)))
    samples = drawn(experiment, "the", length=8, num_samples=2, seed=5)
    first, second = (codec.decode(codec.encode("the").tolist() + tokens) for tokens in samples)
    assert text == f"--- sample 1 ---\n{first}\n\n--- sample 2 ---\n{second}\n"
