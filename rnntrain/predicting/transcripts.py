"""Answers of speech recognisers: what is said, how probable that is, and when each word was said."""

# B batch, T steps, V outputs: the blank and the symbols

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.batch import Batch
from rnntrain.data.speech.transcripts import TranscriptCodec, frames_needed
from rnntrain.errors import UserError
from rnntrain.models.sequence import SequenceModel
from rnntrain.predicting.encoding import SoundEncoder, encoder_of, sound_limits
from rnntrain.predicting.predictor import Example, Predictor, Record, rounded
from rnntrain.tasks.ctc import CTC, rows_of
from rnntrain.tasks.ctc_decoding import best_path, spans

MOST_NAMED = 40


class TranscriptPredictor(Predictor):
    """`text`, its `log_probability` in nats over all alignments, `seconds` of sound, and `words` with begin and end.

    The decoder is that of the run: the best path, or its beam search, whose `words` have no times.
    """

    kind = "sound"
    task: CTC
    codec: TranscriptCodec
    fields = ("text", "log_probability", "seconds")

    def __init__(self, task: CTC, codec: TranscriptCodec, model: SequenceModel, reading: Mapping[str, Any]) -> None:
        super().__init__(task, codec, model)
        encoder = encoder_of(codec.frontend, reading)
        assert isinstance(encoder, SoundEncoder)
        self.encoder = encoder
        self._decoder = list(task.decoders(codec).values())[-1]

    def example(self, raw: Any, where: str = "input") -> Example:
        x_TD, seconds = self.encoder(raw, where)
        return Example(x_TD, detail=seconds)

    def target(self, raw: Any, example: Example, where: str = "input") -> np.ndarray:
        target_S = self.codec.encode(str(raw), where)
        if frames_needed(target_S) > len(example.inputs):
            raise UserError(
                f"{where}: its transcript needs {frames_needed(target_S)} steps, and the recording has "
                f"{len(example.inputs)}; correct the transcript, or leave it out"
            )
        return target_S

    def no_target(self, example: Example) -> np.ndarray:
        return np.zeros(0, np.int64)

    def batch(self, examples: Sequence[Example]) -> Batch:
        lengths = [0 if each.target is None else len(each.target) for each in examples]
        batch = super().batch(examples)
        return Batch(batch.inputs, batch.targets, batch.lengths_B, target_lengths_B=torch.tensor(lengths))

    def limits(self) -> list[str]:
        symbols = self.codec.symbols
        shown = "".join(symbols) if self.codec.unit == "char" else ", ".join(symbols[:MOST_NAMED])
        return [
            f"It writes {len(symbols)} {'characters' if self.codec.unit == 'char' else 'words'} and no others: {shown}",
            *sound_limits(self.codec.frontend),
        ]

    def lines(self, record: Record) -> list[str]:
        return [f"{record['source']}\t{record['text']}" if "source" in record else record["text"]]

    def records(self, output: Tensor, batch: Batch, examples: Sequence[Example]) -> list[Record]:
        answers = []
        for log_probs_TV, example in zip(rows_of(output, batch), examples, strict=True):
            ids = self._decoder(log_probs_TV)
            record: Record = {
                "text": self.codec.decode(ids),
                "log_probability": rounded(log_probability(log_probs_TV, ids)),
            }
            if example.detail is not None:
                record["seconds"] = rounded(example.detail, 3)
            if self._decoder is best_path:
                record["words"] = self.words(log_probs_TV)
            answers.append(record)
        return answers

    def words(self, log_probs_TV: np.ndarray) -> list[Record]:
        """Return the words of the best path, each with the seconds at which its first and last symbols stand."""
        step = self.codec.frontend.settings.step_seconds
        found: list[Record] = []
        goes_on = False
        for number, start, stop in spans(log_probs_TV):
            symbol = self.codec.symbols[number - 1]
            if symbol.isspace():
                goes_on = False
                continue
            if not goes_on or self.codec.unit == "word":
                found.append({"word": "", "start": round(start * step, 3)})
            found[-1]["word"] += symbol
            found[-1]["end"] = round(stop * step, 3)
            goes_on = True
        return found


def log_probability(log_probs_TV: np.ndarray, ids: Sequence[int]) -> float:
    """Return ln p of a transcript, the sum over its alignments (Graves et al. 2006, eq. 3)."""
    if not ids:
        return float(log_probs_TV[:, 0].astype(np.float64).sum())
    log_probs_T1V = torch.from_numpy(log_probs_TV)[:, None]
    lengths = torch.tensor([len(log_probs_TV)]), torch.tensor([len(ids)])
    return -float(F.ctc_loss(log_probs_T1V, torch.tensor([list(ids)]), *lengths, reduction="sum"))
