"""Generate text from a trained model: one step of the network a token, its state kept throughout."""

# B samples drawn side by side, V vocabulary

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from rnntrain.data.codecs import TextCodec
from rnntrain.models.sequence import SequenceModel
from rnntrain.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, Range


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are drawn.

    Attributes:
        length: tokens of each sample.
        num_samples: samples drawn side by side.
        temperature: divides the logits; 0 takes the most likely token each time.
        top_k: keep only the k most likely tokens; 0 for all.
        top_p: keep the most likely tokens that hold this share of probability (Holtzman et al., arXiv:1904.09751).
        seed: of a generator of its own, so that sampling leaves the training's random numbers alone.
    """

    length: PositiveInt = 500
    num_samples: PositiveInt = 1
    temperature: NonNegativeFloat = 0.8
    top_k: NonNegativeInt = 0
    top_p: Annotated[float, Range(0, 1, low_open=True)] = 1.0
    seed: NonNegativeInt = 0


@torch.no_grad()
def generate(model: SequenceModel, codec: TextCodec, prompt: str, options: SamplingOptions) -> Iterator[Tensor]:
    """Yield `length` times the next ``tokens_B``, one of each sample.

    The cost of a token does not grow with those before it. Without a prompt the model reads a line break first.

    Raises:
        UserError: if the prompt holds characters outside the vocabulary.
    """
    num_samples = options.num_samples
    codec.check_prompt(prompt)
    generator = torch.Generator().manual_seed(options.seed)
    device = next(model.parameters()).device
    start_ids = codec.encode(prompt).tolist() or codec.encode("\n").tolist()
    training = model.training
    model.eval()
    try:
        state = model.initial_state(num_samples)
        for token in start_ids[:-1]:
            _, state = model.step(torch.full((num_samples,), token, device=device), state)
        tokens_B = torch.full((num_samples,), start_ids[-1], device=device)
        how = DrawOptions.of([options] * num_samples)
        for _ in range(options.length):
            output, state = model.step(tokens_B, state)
            logits_BV = output.compute().float().cpu()
            if codec.unknown_id is not None:
                logits_BV.select(1, codec.unknown_id).fill_(-torch.inf)
            drawn_B = draw(logits_BV, torch.rand(num_samples, generator=generator, dtype=torch.float64), how)
            yield drawn_B
            tokens_B = drawn_B.to(device)
    finally:
        model.train(training)


class DrawOptions(NamedTuple):
    """What is asked of each row, made ready once: a small model would notice work that is done anew for every token.

    Attributes:
        divisor_B1: the temperature, or the least number that may divide, where it is 0.
        greedy_B: rows of temperature 0.
        zero_B1: zeros.
        is_greedy: whether any row, and whether every row is greedy.
        is_cut: whether top-k or top-p drops anything in any row.
    """

    divisor_B1: Tensor
    greedy_B: Tensor
    top_k_B: Tensor
    top_p_B: Tensor
    zero_B1: Tensor
    is_greedy: tuple[bool, bool]
    is_cut: bool

    @classmethod
    def of(cls, rows: Sequence[SamplingOptions]) -> DrawOptions:
        """Make ready what each row asks for."""
        temperature_B = torch.tensor([row.temperature for row in rows], dtype=torch.float64)
        greedy_B = temperature_B == 0
        return cls(
            temperature_B.clamp_min(1e-300)[:, None],
            greedy_B,
            torch.tensor([row.top_k for row in rows]),
            torch.tensor([row.top_p for row in rows], dtype=torch.float64),
            torch.zeros(len(rows), 1, dtype=torch.float64),
            (bool(greedy_B.any()), bool(greedy_B.all())),
            any(row.top_k or row.top_p < 1 for row in rows),
        )


def draw(logits_BV: Tensor, uniform_B: Tensor, options: DrawOptions) -> Tensor:
    """Draw one token a row, each by options of its own, as the number in [0, 1) of its row says.

    A row's token does not depend on the rows beside it, so that texts of several readers can be drawn together.
    """
    any_greedy, all_greedy = options.is_greedy
    if all_greedy:
        return logits_BV.argmax(1)
    # From the largest on, and in float64 (as the divisor is), so that no temperature is too low.
    probs_BV = torch.div(logits_BV - logits_BV.amax(1, keepdim=True), options.divisor_B1).softmax(1)
    if options.is_cut:
        probs_BV = _kept(probs_BV, options.top_k_B, options.top_p_B)
    cumulative_BV = probs_BV.cumsum(1)
    total_B1 = cumulative_BV[:, -1:]
    # Below the total even where the product rounds up to it: the last token may have no probability.
    below_B1 = torch.nextafter(total_B1, options.zero_B1)
    reached_B1 = torch.minimum(uniform_B.unsqueeze(1) * total_B1, below_B1)
    # A model that has diverged has no probabilities, and yet is asked for a sample before training says so.
    drawn_B = torch.searchsorted(cumulative_BV, reached_B1, right=True).squeeze(1).clamp_(max=logits_BV.shape[1] - 1)
    return torch.where(options.greedy_B, logits_BV.argmax(1), drawn_B) if any_greedy else drawn_B


def _kept(probs_BV: Tensor, top_k_B: Tensor, top_p_B: Tensor) -> Tensor:
    """Return the probabilities without what top-k drops, and then without what top-p does; not normalised."""
    sorted_BV, order_BV = probs_BV.sort(dim=1, descending=True, stable=True)
    rank_V = torch.arange(probs_BV.shape[1])
    sorted_BV = sorted_BV * ((rank_V < top_k_B[:, None]) | (top_k_B[:, None] == 0))
    # A token stays as long as those before it have not reached the share: the first always does.
    before_BV = sorted_BV.cumsum(1) - sorted_BV
    share_B1 = top_p_B[:, None] * sorted_BV.sum(1, keepdim=True)
    stays_BV = (before_BV < share_B1) | (top_p_B[:, None] >= 1)
    return torch.zeros_like(probs_BV).scatter(1, order_BV, sorted_BV * stays_BV)


class TextStream:
    """Turns tokens into text as they come, holding back a last character whose bytes may not be complete.

    Args:
        context: what stands before; whether a space comes first, for one, depends on it.
    """

    _KEPT = 4  # tokens: a character has at most four bytes, and all of them may be needed

    def __init__(self, codec: TextCodec, context: Sequence[int] = ()) -> None:
        self._codec = codec
        self._ids = list(context[-self._KEPT :])
        self._shown = codec.decode(self._ids)

    def push(self, token: int) -> str:
        """Return the text that `token` completes; it may be empty."""
        self._ids.append(token)
        text = self._complete()
        new = text[len(self._shown) :]
        self._shown = text
        if len(self._ids) > 4 * self._KEPT:
            self._ids = self._ids[-self._KEPT :]
            self._shown = self._complete()
        return new

    def rest(self) -> str:
        """Return what was held back, at the end."""
        return self._codec.decode(self._ids)[len(self._shown) :]

    def _complete(self) -> str:
        # Bytes of a character cut short decode to one replacement sign, and none before it can change any more.
        return self._codec.decode(self._ids).removesuffix("\ufffd")


def sample_text(
    model: SequenceModel, codec: TextCodec, prompt: str = "", options: SamplingOptions | None = None
) -> str:
    """Return the first sample as text, prompt included."""
    tokens = [int(tokens_B[0]) for tokens_B in generate(model, codec, prompt, options or SamplingOptions())]
    return codec.decode(codec.encode(prompt).tolist() + tokens)


def stream_text(model: SequenceModel, codec: TextCodec, prompt: str, options: SamplingOptions) -> Iterator[str]:
    """Yield pieces of text as they are drawn; several samples follow one another, each under a heading."""
    codec.check_prompt(prompt)
    start = codec.encode(prompt).tolist()
    if options.num_samples == 1:
        yield codec.decode(start)
        stream = TextStream(codec, start)
        for tokens_B in generate(model, codec, prompt, options):
            yield stream.push(int(tokens_B[0]))
        yield stream.rest()
        return
    drawn_TB = torch.stack(list(generate(model, codec, prompt, options)))
    for number, tokens in enumerate(drawn_TB.t().tolist(), 1):
        yield f"{'' if number == 1 else chr(10)}--- sample {number} ---\n{codec.decode(start + tokens)}\n"
