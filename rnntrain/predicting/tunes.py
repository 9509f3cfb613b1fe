"""Music from a trained model: chord after chord, each key drawn by itself."""

# B tunes drawn side by side, T time, K keys

from __future__ import annotations

import numpy as np
import torch

from rnntrain.data.numbers.pianoroll import PianoRollCodec
from rnntrain.errors import UserError
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.sample import SamplingOptions

CHORDS = 128  # of a tune, where nothing else is said


def chords_of(text: str) -> list[list[int]]:
    """Return the chords that a text names, as MIDI pitches: `60 64 67 | 62 65 69`.

    Raises:
        UserError: a word is no whole number.
    """
    if not text.strip():
        return []
    try:
        return [[int(word) for word in chord.split()] for chord in text.split("|")]
    except ValueError as error:
        raise UserError(f"--prompt {text!r}: write chords as MIDI pitches, such as '60 64 67 | 62 65 69'") from error


def compose(model: SequenceModel, codec: PianoRollCodec, prompt_TK: np.ndarray, options: SamplingOptions) -> np.ndarray:
    """Return tunes ``[B, T, K]`` that go on from a prompt, prompt included; without one, from silence.

    Each key sounds with its own probability, σ(logit / temperature); with a temperature of 0 where that is above ½.

    Raises:
        UserError: for options that choose among words.
    """
    if options.top_k or options.top_p < 1:
        raise UserError("--top-k and --top-p choose among tokens, and keys are drawn one by one; use --temperature")
    count = options.num_samples
    generator = torch.Generator().manual_seed(options.seed)
    device = next(model.parameters()).device
    given_TK = torch.from_numpy(prompt_TK.astype(np.float32))
    read_TK = given_TK if len(given_TK) else torch.zeros(1, codec.num_keys)
    drawn = [chord_K.expand(count, -1) for chord_K in given_TK]
    with evaluating(model):
        state = model.initial_state(count)
        for chord_K in read_TK:
            logits_BK, state = model.step(chord_K.expand(count, -1).to(device), state)
        for _ in range(options.length):
            chord_BK = _draw(logits_BK.float().cpu(), options.temperature, generator)
            drawn.append(chord_BK)
            logits_BK, state = model.step(chord_BK.to(device), state)
    return torch.stack(drawn, 1).numpy().astype(np.uint8)


def _draw(logits_BK: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    if temperature == 0:
        return (logits_BK > 0).float()
    return torch.bernoulli((logits_BK.double() / temperature).sigmoid(), generator=generator).float()
