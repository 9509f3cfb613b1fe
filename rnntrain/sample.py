"""Generate text from a trained model: one step of the network a token, its state kept throughout."""

# B samples drawn side by side, V vocabulary

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

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
        for _ in range(options.length):
            output, state = model.step(tokens_B, state)
            logits_BV = output.compute().float().cpu()
            if codec.unknown_id is not None:
                logits_BV[:, codec.unknown_id] = -torch.inf
            drawn_B = choose(logits_BV, options, generator)
            yield drawn_B
            tokens_B = drawn_B.to(device)
    finally:
        model.train(training)


def choose(logits_BV: Tensor, options: SamplingOptions, generator: torch.Generator) -> Tensor:
    """Draw one token a row from the logits, after temperature, top-k and top-p in this order."""
    rows = len(logits_BV)
    uniform_B = torch.rand(rows, generator=generator, dtype=torch.float64)
    temperature_B = torch.full((rows,), options.temperature, dtype=torch.float64)
    top_p_B = torch.full((rows,), options.top_p, dtype=torch.float64)
    return draw(logits_BV, uniform_B, temperature_B, torch.full((rows,), options.top_k), top_p_B)


def draw(logits_BV: Tensor, uniform_B: Tensor, temperature_B: Tensor, top_k_B: Tensor, top_p_B: Tensor) -> Tensor:
    """Draw one token a row, each by options of its own, as the number in [0, 1) of its row says.

    A row's token does not depend on the rows beside it, so that texts of several readers can be drawn together.
    """
    likeliest_B = logits_BV.argmax(1)
    if not temperature_B.any():
        return likeliest_B
    # From the largest on, and in float64, so that no temperature is too low.
    scaled_BV = (logits_BV - logits_BV.amax(1, keepdim=True)).double() / temperature_B.clamp_min(1e-300)[:, None]
    probs_BV = scaled_BV.softmax(1)
    if top_k_B.any() or (top_p_B < 1).any():
        probs_BV = _kept(probs_BV, top_k_B, top_p_B)
    cumulative_BV = probs_BV.cumsum(1)
    total_B = cumulative_BV[:, -1]
    # Below the total even where the product rounds up to it: the last token may have no probability.
    reached_B = torch.minimum(uniform_B * total_B, torch.nextafter(total_B, torch.zeros_like(total_B)))
    drawn_B = torch.searchsorted(cumulative_BV, reached_B[:, None], right=True).squeeze(1)
    # A model that has diverged has no probabilities, and yet is asked for a sample before training says so.
    return torch.where((temperature_B == 0) | total_B.isnan(), likeliest_B, drawn_B)


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
