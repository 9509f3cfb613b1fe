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
    start_ids = codec.encode(prompt or "\n").tolist()
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
    logits_BV = logits_BV / options.temperature
    if 0 < options.top_k < logits_BV.shape[1]:
        smallest_kept_B1 = logits_BV.topk(options.top_k, 1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < smallest_kept_B1, -torch.inf)
    probs_BV = logits_BV.softmax(1)
    if options.top_p < 1:
        sorted_BV, order_BV = probs_BV.sort(1, descending=True)
        # A token stays as long as those before it have not reached the share: the first always does.
        dropped_BV = sorted_BV.cumsum(1) - sorted_BV >= options.top_p
        probs_BV = probs_BV.masked_fill(dropped_BV.gather(1, order_BV.argsort(1)), 0)
    return torch.multinomial(probs_BV, 1, generator=generator).squeeze(1)


class TextStream:
    """Turns tokens into text as they come, holding back characters whose bytes are not complete."""

    _LONGEST = 8  # tokens held back at most: a character has at most four bytes

    def __init__(self, codec: TextCodec, context: Sequence[int] = ()) -> None:
        self._codec = codec
        self._ids = list(context)
        self._shown = codec.decode(self._ids)
        self._held = 0

    def push(self, token: int) -> str:
        """Return the text that `token` completes; it may be empty."""
        self._ids.append(token)
        text = self._codec.decode(self._ids)
        self._held += 1
        if text.endswith("\ufffd") and self._held < self._LONGEST:
            return ""
        new = text[len(self._shown) :]
        # The last token stays as context: whether a space stands before the next one may depend on it.
        self._ids, self._held = self._ids[-1:], 0
        self._shown = self._codec.decode(self._ids)
        return new


def sample_text(
    model: SequenceModel, codec: TextCodec, prompt: str = "", options: SamplingOptions | None = None
) -> str:
    """Return the first sample as text, prompt included."""
    tokens = [int(tokens_B[0]) for tokens_B in generate(model, codec, prompt, options or SamplingOptions())]
    start = codec.encode(prompt).tolist() if prompt else []
    return codec.decode(start + tokens)


def stream_text(model: SequenceModel, codec: TextCodec, prompt: str, options: SamplingOptions) -> Iterator[str]:
    """Yield pieces of text as they are drawn; several samples follow one another, each under a heading."""
    codec.check_prompt(prompt)
    if options.num_samples == 1:
        yield prompt
        stream = TextStream(codec, codec.encode(prompt).tolist()[-1:])
        for tokens_B in generate(model, codec, prompt, options):
            yield stream.push(int(tokens_B[0]))
        return
    drawn_TB = torch.stack(list(generate(model, codec, prompt, options)))
    start = codec.encode(prompt).tolist()
    for number, tokens in enumerate(drawn_TB.t().tolist(), 1):
        yield f"{'' if number == 1 else chr(10)}--- sample {number} ---\n{codec.decode(start + tokens)}\n"
