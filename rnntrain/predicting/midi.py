"""Standard MIDI files of piano rolls (MIDI 1.0 specification, "Standard MIDI Files 1.0"): one track, format 0."""

# T time, K keys

from __future__ import annotations

import struct

import numpy as np

from rnntrain.data.numbers.pianoroll import LOWEST_PITCH

TICKS = 480  # of a quarter note
STEP_TICKS = 240  # a step is an eighth note
VELOCITY = 80
_ON, _OFF, _END, _TEMPO = 0x90, 0x80, b"\xff\x2f\x00", b"\xff\x51\x03"


def midi_of(roll_TK: np.ndarray, step_seconds: float = 0.25) -> bytes:
    """Return a piece as the bytes of a MIDI file; a key that sounds in steps that follow each other is one note.

    Args:
        roll_TK: zeros and ones, the lowest key that of `LOWEST_PITCH`.
        step_seconds: how long a step lasts.
    """
    quarter_microseconds = round(step_seconds * 1e6 * TICKS / STEP_TICKS)
    track = bytearray(_delta(0) + _TEMPO + quarter_microseconds.to_bytes(3, "big"))
    silent_1K = np.zeros((1, roll_TK.shape[1]), np.int8)
    changes_TK = np.diff(np.concatenate([silent_1K, roll_TK.astype(np.int8), silent_1K]), axis=0)
    last = 0
    for step, changes_K in enumerate(changes_TK):
        # Off before on, so that a note struck anew is not cut short.
        for status, keys in ((_OFF, np.flatnonzero(changes_K < 0)), (_ON, np.flatnonzero(changes_K > 0))):
            for key in keys.tolist():
                track += _delta((step - last) * STEP_TICKS) + bytes([status, key + LOWEST_PITCH, VELOCITY])
                last = step
    track += _delta(0) + _END
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS)
    return header + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _delta(ticks: int) -> bytes:
    """Return a time as MIDI writes it: seven bits a byte, the highest first, all but the last marked."""
    parts = [ticks & 0x7F]
    while ticks := ticks >> 7:
        parts.append(0x80 | (ticks & 0x7F))
    return bytes(reversed(parts))
