"""Speech to text while it is spoken: features, state and transcript go on from piece to piece."""

# S samples, T steps, D features, V outputs

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch

from rnntrain.batch import Batch
from rnntrain.cells.base import State
from rnntrain.data.speech.sound import sound_blocks
from rnntrain.errors import UserError
from rnntrain.models.sequence import evaluating
from rnntrain.predicting.transcripts import TranscriptPredictor

SAMPLE_BYTES = 2  # raw sound is signed, 16 bits, little end first


class StreamTranscriber:
    """Transcribes sound piece by piece; the result is that of the whole, however it was cut.

    Holds the samples of less than one step, the state of the model and that of the decoder, whatever was said before.

    Raises:
        UserError: the model reads from the end too, or its features are normalised over a whole utterance.
    """

    def __init__(self, predictor: TranscriptPredictor) -> None:
        self._predictor, self._codec = predictor, predictor.codec
        self._frontend = predictor.codec.frontend
        if predictor.model.backbone.bidirectional:
            raise UserError(
                "--stream: the model reads in both directions, so it needs the whole recording; leave --stream out, or "
                "train with model.bidirectional=false"
            )
        if self._frontend.normalize == "utterance":
            raise UserError(
                "--stream: features are normalised over the whole recording (data.normalize=utterance); leave --stream "
                "out, or train with data.normalize=train"
            )
        self._decoder = predictor.task.stepwise(predictor.codec)
        self._rest_S = np.zeros(0, np.float32)
        self._state: State = None
        self.samples = 0

    @property
    def seconds(self) -> float:
        """How much has been heard."""
        return self.samples / self._frontend.settings.sample_rate

    def push(self, samples_S: np.ndarray) -> str:
        """Take in more samples of float32 in [-1, 1]; return the text that nothing to come can change."""
        self.samples += len(samples_S)
        settings = self._frontend.settings
        held_S = np.concatenate([self._rest_S, samples_S.astype(np.float32)])
        frames = settings.num_steps(len(held_S)) * settings.stack
        self._rest_S = held_S[frames * settings.hop_size :]
        if frames:
            self._read(self._frontend(held_S[: settings.window_size + (frames - 1) * settings.hop_size]))
        return self._codec.decode(self._decoder.settled())

    def finish(self) -> str:
        """Return the whole transcript, now that nothing follows."""
        return self._codec.decode(self._decoder.best())

    def _read(self, x_TD: np.ndarray) -> None:
        inputs_BTD = torch.from_numpy(x_TD)[None]
        batch = Batch(
            inputs_BTD, torch.zeros(1, 0, dtype=torch.int64), target_lengths_B=torch.zeros(1, dtype=torch.int64)
        )
        model = self._predictor.model
        with evaluating(model):
            output, self._state = model(batch.to(self._predictor.device), self._state)
        self._decoder.push(output[0].float().log_softmax(-1).cpu().numpy())


def pieces_of_file(path: Path, where: str, seconds: float, rate: int) -> Iterator[np.ndarray]:
    """Yield the samples of a sound file, so many seconds at a time.

    Raises:
        UserError: it cannot be read, or has another rate or several channels.
    """
    for found, block_SC in sound_blocks(path, where, max(1, int(seconds * rate))):
        if found != rate:
            raise UserError(f"{where}: has {found} samples a second, and the model reads {rate}; convert it first")
        if block_SC.shape[1] != 1:
            raise UserError(f"{where}: has {block_SC.shape[1]} channels; mix them to one first")
        yield block_SC[:, 0]


def pieces_of_stream(file: IO[bytes], seconds: float, rate: int) -> Iterator[np.ndarray]:
    """Yield raw samples (signed, 16 bits, little end first, one channel) as they come, so many seconds at a time."""
    size = max(1, int(seconds * rate)) * SAMPLE_BYTES
    held = b""
    while block := file.read(size):
        held += block
        whole = len(held) - len(held) % SAMPLE_BYTES
        yield np.frombuffer(held[:whole], "<i2").astype(np.float32) / 32768
        held = held[whole:]
