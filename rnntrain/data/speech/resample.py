"""Another sample rate for a waveform."""

# S samples, K taps of the filter

from __future__ import annotations

from math import gcd

import numpy as np

ZEROS = 16  # zero crossings of the sinc on each side
KAISER_BETA = 8.0  # side lobes about 80 dB down
ROLL_OFF = 0.945  # of half the lower rate, so that the slope of the filter ends about there


def resample(samples_S: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Return a waveform at `new_rate` Hz; frequencies above half the lower rate are filtered out.

    Band-limited interpolation by a sinc under a Kaiser window (Smith and Gossett 1984). Time stays: the first sample
    of both stands at 0 seconds, and beyond both ends is silence.
    """
    if rate == new_rate:
        return samples_S
    common = gcd(rate, new_rate)
    up, down = new_rate // common, rate // common
    cutoff = ROLL_OFF * min(1.0, up / down)  # in units of half the old rate
    reach = int(np.ceil(ZEROS / cutoff))
    number = -(-len(samples_S) * up // down)
    padded = np.pad(samples_S.astype(np.float32), (reach, reach + down + 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    out = np.empty(number, np.float32)
    # Output n stands at input place n·down/up: all outputs of one remainder share one filter.
    for phase in range(min(up, number)):
        whole, part = divmod(phase * down, up)
        count = len(range(phase, number, up))
        out[phase::up] = windows[whole::down][:count] @ _filter_K(part / up, reach, cutoff)
    return out


def _filter_K(offset: float, reach: int, cutoff: float) -> np.ndarray:
    """Return the weights of the inputs at places -reach … reach for an output at place `offset`."""
    distance_K = np.arange(-reach, reach + 1) - offset
    window_K = np.i0(KAISER_BETA * np.sqrt(np.maximum(1 - (distance_K / (reach + 1)) ** 2, 0))) / np.i0(KAISER_BETA)
    return (cutoff * np.sinc(cutoff * distance_K) * window_K).astype(np.float32)
