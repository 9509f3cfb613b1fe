"""Texts that are drawn side by side, one step of the model for all of them, each from its own prompt and options."""

# B texts, V vocabulary

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from rnntrain.batch import Batch
from rnntrain.cells.base import State, join_rows, map_state
from rnntrain.data.codecs import TextCodec
from rnntrain.models.sequence import SequenceModel, evaluating
from rnntrain.sample import DrawOptions, SamplingOptions, TextStream, draw

PIECE = 1024  # tokens of a long prompt that are read at once, so that other texts need not wait for all of it


@dataclass
class Text:
    """One text that is being drawn.

    Attributes:
        prompt: is not given back.
        deliver: is called with each piece of text; with None at the end, or with the error that ended it.
        gone: says whether the reader has left; the text then ends early.
    """

    prompt: str
    options: SamplingOptions
    deliver: Callable[[str | Exception | None], None]
    gone: Callable[[], bool] = lambda: False
    drawn: int = 0
    waiting: list[int] = field(default_factory=list)  # tokens of the prompt that the model has not read
    generator: torch.Generator = field(default_factory=torch.Generator)
    stream: TextStream | None = None


class Drawing:
    """The texts that are drawn at the moment; each is what it would be alone, but for the last bits of its logits.

    Their states are kept joined, so that a step costs one call of the model, whoever has come or gone.
    """

    def __init__(self, model: SequenceModel, codec: TextCodec) -> None:
        self.model, self.codec = model, codec
        self.texts: list[Text] = []
        self._state: State = None
        self._tokens_B = torch.zeros(0, dtype=torch.long)
        self._options: DrawOptions | None = None  # of the texts
        self._prompts: list[tuple[Text, State]] = []  # that are still being read

    def __len__(self) -> int:
        return len(self.texts) + len(self._prompts)

    def admit(self, text: Text) -> None:
        """Take in a text whose prompt has been checked."""
        ids = self.codec.encode(text.prompt).tolist()
        text.stream = TextStream(self.codec, ids)
        text.waiting = ids or self.codec.encode("\n").tolist()  # as `generate` does, a model reads something first
        text.generator.manual_seed(text.options.seed)
        self._prompts.append((text, self.model.initial_state(1)))

    def step(self) -> int:
        """Read a piece of each new prompt and draw the next token of every text; return how many were drawn."""
        with evaluating(self.model):
            self._read_prompts()
            return self._draw() if self.texts else 0

    def fail(self, error: Exception) -> None:
        """End all texts with an error."""
        for text in [*self.texts, *(text for text, _ in self._prompts)]:
            text.deliver(error)
        self._prompts.clear()
        self._keep([])

    def _read_prompts(self) -> None:
        still: list[tuple[Text, State]] = []
        for text, state in self._prompts:
            if text.gone():
                continue
            read = min(PIECE, len(text.waiting) - 1)  # the last token is read in the first step that draws
            piece, text.waiting = text.waiting[:read], text.waiting[read:]
            if piece:
                ids = torch.tensor([piece], device=self._device)
                _, state = self.model(Batch(ids, ids), state)
            if len(text.waiting) > 1:
                still.append((text, state))
            else:
                self._join(text, state)
        self._prompts = still

    def _join(self, text: Text, state: State) -> None:
        self._state = state if not self.texts else join_rows([self._state, state])
        self._tokens_B = torch.cat([self._tokens_B, torch.tensor(text.waiting)])
        self.texts.append(text)
        self._options = None

    def _draw(self) -> int:
        output, self._state = self.model.step(self._tokens_B.to(self._device), self._state)
        logits_BV = output.compute().float().cpu()
        if self.codec.unknown_id is not None:
            logits_BV.select(1, self.codec.unknown_id).fill_(-torch.inf)
        uniform_B = torch.cat([torch.rand(1, generator=t.generator, dtype=torch.float64) for t in self.texts])
        if self._options is None:
            self._options = DrawOptions.of([text.options for text in self.texts])
        self._tokens_B = draw(logits_BV, uniform_B, self._options)
        ended = []
        for place, (text, token) in enumerate(zip(self.texts, self._tokens_B.tolist(), strict=True)):
            if self._deliver(text, token):
                ended.append(place)
        drawn = len(self.texts)
        if ended:
            self._keep([place for place in range(drawn) if place not in ended])
        return drawn

    def _deliver(self, text: Text, token: int) -> bool:
        """Give a token to the reader of its text; say whether that was the last."""
        assert text.stream is not None
        text.drawn += 1
        if piece := text.stream.push(token):
            text.deliver(piece)
        if text.drawn < text.options.length and not text.gone():
            return False
        if rest := text.stream.rest():
            text.deliver(rest)
        text.deliver(None)
        return True

    def _keep(self, places: list[int]) -> None:
        index = torch.tensor(places, dtype=torch.long)
        self.texts = [self.texts[place] for place in places]
        self._tokens_B = self._tokens_B[index]
        self._state = map_state(lambda part: part[index.to(part.device)], self._state) if places else None
        self._options = None

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device
