"""Log-mel energies and mel-frequency cepstra of a waveform, as Kaldi computes them."""

# S samples, T frames, W samples of a window, F frequencies, M mel bands, C cepstra, D features of a step

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from rnntrain.errors import UserError

FeatureKind = Literal["log_mel", "mfcc"]
PRE_EMPHASIS = 0.97
LIFTER = 22.0
FLOOR = float(np.finfo(np.float32).eps)  # of an energy, before its logarithm


@dataclass(frozen=True)
class FeatureSettings:
    """What is measured of a waveform.

    Attributes:
        sample_rate: in Hz; a waveform of another rate must be resampled first.
        kind: "log_mel" energies, or "mfcc", the cosine transform of these.
        window_ms: length of the window of one frame.
        hop_ms: from the beginning of one frame to that of the next.
        num_mels: number M of mel bands.
        num_cepstra: number C of cepstra, the zeroth among them; only for mfcc.
        low_hz: lower edge of the lowest band.
        high_hz: upper edge of the highest band; half the sample rate where None.
        stack: so many frames, laid side by side, make one step: a recurrent network runs over fewer steps.

    Raises:
        UserError: if bands or windows are impossible.
    """

    sample_rate: int
    kind: FeatureKind = "log_mel"
    window_ms: float = 25.0
    hop_ms: float = 10.0
    num_mels: int = 40
    num_cepstra: int = 13
    low_hz: float = 20.0
    high_hz: float | None = None
    stack: int = 1

    def __post_init__(self) -> None:
        half = self.sample_rate / 2
        if self.window_size < 2 or self.hop_size < 1:
            raise UserError(
                f"data.window_ms={self.window_ms:g}, data.hop_ms={self.hop_ms:g}: shorter than the samples of "
                f"{self.sample_rate} Hz; make them longer"
            )
        if not 0 <= self.low_hz < self.top_hz <= half:
            raise UserError(
                f"data.low_hz={self.low_hz:g}, data.high_hz={self.top_hz:g}: must ascend and lie between 0 and "
                f"{half:g}, half the sample rate"
            )
        if self.kind == "mfcc" and self.num_cepstra > self.num_mels:
            raise UserError(
                f"data.num_cepstra={self.num_cepstra}: no more than data.num_mels={self.num_mels}; lower it"
            )

    @property
    def top_hz(self) -> float:
        return self.sample_rate / 2 if self.high_hz is None else self.high_hz

    @property
    def window_size(self) -> int:
        return int(self.sample_rate * self.window_ms / 1000)

    @property
    def hop_size(self) -> int:
        return int(self.sample_rate * self.hop_ms / 1000)

    @property
    def frame_features(self) -> int:
        """Number of features of one frame."""
        return self.num_mels if self.kind == "log_mel" else self.num_cepstra

    @property
    def num_features(self) -> int:
        """Width D of one step."""
        return self.stack * self.frame_features

    @property
    def step_seconds(self) -> float:
        return self.stack * self.hop_size / self.sample_rate

    def num_steps(self, num_samples: int) -> int:
        """Return how many steps a waveform gives; frames that do not fill a last step are left out."""
        frames = 1 + (num_samples - self.window_size) // self.hop_size if num_samples >= self.window_size else 0
        return frames // self.stack


class Extractor:
    """Computes the features that the settings describe.

    The conventions are Kaldi's (`compute-fbank-feats`, `compute-mfcc-feats`) with ``--dither=0 --window-type=hanning
    --snip-edges=true --use-energy=false``. Of each window whole within the waveform: subtract its mean; emphasise,
    x_n - 0.97 x_{n-1} with x_{-1} = x_0; weigh by a Hann window; take the power spectrum, zero-padded to a power of
    two; sum it under triangles that stand equally spaced on the mel scale 1127 ln(1 + f / 700) and are linear
    on it; take the logarithm, of 1.2e-7 at least. Cepstra: the orthonormal cosine transform (DCT-II) of that,
    the c-th weighed by 1 + 11 sin(π c / 22) (Davis and Mermelstein 1980).
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self.settings = settings
        self._fft_size = 1 << (settings.window_size - 1).bit_length()

    def __call__(self, samples_S: np.ndarray) -> np.ndarray:
        """Return the features ``x_TD`` of a waveform of float32 in [-1, 1]; empty where it is too short."""
        settings = self.settings
        if len(samples_S) < settings.window_size:
            return np.empty((0, settings.num_features), np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(samples_S, settings.window_size)
        frames_TW = windows[:: settings.hop_size]
        lines = self._lines
        narrow = 2 * (lines.stop - lines.start) <= settings.window_size
        powers_TF = self._few_powers(frames_TW) if narrow else self._powers(frames_TW)
        x_TM = np.log(np.maximum(powers_TF @ self._triangles_FM[lines if narrow else slice(None)], FLOOR))
        if settings.kind == "mfcc":
            x_TM = x_TM @ self._cosines_MC
        return stack_frames(x_TM, settings.stack)

    def _few_powers(self, frames_TW: np.ndarray) -> np.ndarray:
        """Return the powers of the lines that some band reads, where one product is less work than a transform."""
        real_TF, imaginary_TF = np.split(frames_TW @ self._transform_WG, 2, axis=1)
        return real_TF**2 + imaginary_TF**2

    @cached_property
    def _lines(self) -> slice:
        """The lines of the spectrum that some band reads."""
        used = np.flatnonzero(self._triangles_FM.any(1))
        return slice(int(used[0]), int(used[-1]) + 1)

    @cached_property
    def _transform_WG(self) -> np.ndarray:
        """All of `_powers` before the square, as one matrix: real parts of the lines in use, then imaginary ones."""
        size = self.settings.window_size
        centred_WW = np.eye(size) - 1 / size
        shifted_WW = np.roll(centred_WW, 1, axis=0)
        shifted_WW[0] = centred_WW[0]
        prepared_WW = (centred_WW - PRE_EMPHASIS * shifted_WW) * self._window_W[:, None]
        spectrum_FW = np.fft.rfft(prepared_WW, self._fft_size, axis=0)[self._lines]
        return np.concatenate([spectrum_FW.real, spectrum_FW.imag]).T.astype(np.float32)

    def _powers(self, frames_TW: np.ndarray) -> np.ndarray:
        frames_TW = frames_TW - frames_TW.mean(1, keepdims=True)
        emphasised_TW = np.empty_like(frames_TW)
        np.multiply(frames_TW[:, :-1], -PRE_EMPHASIS, out=emphasised_TW[:, 1:])
        emphasised_TW[:, 1:] += frames_TW[:, 1:]
        emphasised_TW[:, 0] = (1 - PRE_EMPHASIS) * frames_TW[:, 0]
        emphasised_TW *= self._window_W
        spectrum_TF = np.fft.rfft(emphasised_TW, self._fft_size)
        return spectrum_TF.real**2 + spectrum_TF.imag**2

    @cached_property
    def _window_W(self) -> np.ndarray:
        size = self.settings.window_size
        return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))).astype(np.float32)

    @cached_property
    def _triangles_FM(self) -> np.ndarray:
        settings = self.settings
        edges = np.linspace(mel(settings.low_hz), mel(settings.top_hz), settings.num_mels + 2)
        frequencies_F1 = mel(np.arange(self._fft_size // 2 + 1) * settings.sample_rate / self._fft_size)[:, None]
        rising_FM = (frequencies_F1 - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling_FM = (edges[2:] - frequencies_F1) / (edges[2:] - edges[1:-1])
        triangles_FM = np.maximum(np.minimum(rising_FM, falling_FM), 0)
        triangles_FM[-1] = 0  # Kaldi leaves out the one bin at half the sample rate
        if not (triangles_FM > 0).any(0).all():
            raise UserError(
                f"data.num_mels={settings.num_mels}: some band between {settings.low_hz:g} and {settings.top_hz:g} Hz "
                "is narrower than the spectrum's lines; lower data.num_mels, or raise data.window_ms"
            )
        return triangles_FM.astype(np.float32)

    @cached_property
    def _cosines_MC(self) -> np.ndarray:
        bands, number_C = self.settings.num_mels, np.arange(self.settings.num_cepstra)
        cosines_MC = np.cos(np.pi / bands * (np.arange(bands)[:, None] + 0.5) * number_C)
        cosines_MC *= np.where(number_C == 0, np.sqrt(1 / bands), np.sqrt(2 / bands))
        return (cosines_MC * (1 + LIFTER / 2 * np.sin(np.pi * number_C / LIFTER))).astype(np.float32)


def mel(hz: np.ndarray | float) -> np.ndarray:
    """Return a frequency on the mel scale (O'Shaughnessy 1987, with the natural logarithm)."""
    return 1127.0 * np.log1p(np.asarray(hz) / 700.0)


def stack_frames(x_TM: np.ndarray, number: int) -> np.ndarray:
    """Lay each `number` frames side by side; a rest that does not fill a step is left out."""
    whole = len(x_TM) // number
    return np.ascontiguousarray(x_TM[: whole * number]).reshape(whole, number * x_TM.shape[1])
