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
    if options.temperature == 0:
        return logits_BV.argmax(1)
    # From the largest on, and in float64, so that no temperature is too low.
    logits_BV = (logits_BV - logits_BV.amax(1, keepdim=True)).double() / options.temperature
    if 0 < options.top_k < logits_BV.shape[1]:
        kept_BK = logits_BV.topk(options.top_k, 1)
        logits_BV = torch.full_like(logits_BV, -torch.inf).scatter(1, kept_BK.indices, kept_BK.values)
    probs_BV = logits_BV.softmax(1)
    if options.top_p < 1:
        sorted_BV, order_BV = probs_BV.sort(1, descending=True)
        # A token stays as long as those before it have not reached the share: the first always does.
        dropped_BV = sorted_BV.cumsum(1) - sorted_BV >= options.top_p
        probs_BV = probs_BV.masked_fill(dropped_BV.gather(1, order_BV.argsort(1)), 0)
    return torch.multinomial(probs_BV, 1, generator=generator).squeeze(1)


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
