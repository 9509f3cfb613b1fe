"""One sound file to samples: WAV, FLAC and Ogg, by the package `soundfile`, and mistrusted."""

# S samples, C channels

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from rnntrain.data.bounded import check_unpacked, read_whole
from rnntrain.data.speech.resample import resample
from rnntrain.errors import UserError

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus")
BLOCK = 1 << 18  # frames read at once: a header may promise more than memory holds
TAIL = 1 << 17  # bytes in which the last page of an Ogg file begins; pages are at most 65 kB
LAST_PAGE = 4  # flag of that page

RATIO = 400  # bytes of samples that one byte stands for: speech at 6 kbit/s in Opus comes to 256
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # samples a second

Stereo = Literal["refuse", "mix"]


class Sound(NamedTuple):
    """A mono waveform in [-1, 1], its rate in Hz, and size and hash of the file."""

    samples_S: np.ndarray
    sample_rate: int
    size: int
    sha256: str


def read_sound(path: Path, where: str, stereo: Stereo = "refuse") -> Sound:
    """Read a whole file, mixed down to one channel where `stereo` allows it.

    Args:
        where: the file as messages name it.

    Raises:
        UserError: if it cannot be read, is no sound, is cut off, has several channels, no samples or such as are
            not finite; or if `soundfile` is not installed.
    """
    _soundfile()  # a package that is missing is told before a file is
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{where}: this is no file but a folder, device or pipe; name a sound file")
        data = read_whole(path, where)
    except FileNotFoundError as error:
        raise UserError(f"{where}: there is no such file; correct the path, or restore the file") from error
    except OSError as error:
        raise UserError(f"{where}: {(error.strerror or str(error)).lower()}; make the file readable") from error
    return decode_sound(data, where, stereo)


def decode_sound(data: bytes, where: str, stereo: Stereo = "refuse", ratio: int = RATIO) -> Sound:
    """Decode the bytes of a whole sound file; as `read_sound`, which reads them.

    Args:
        ratio: bytes of samples that one byte may stand for, beyond a size that every file may unpack to.
    """
    soundfile = _soundfile()
    _check_whole(data, where)
    samples_SC, rate = _decode(soundfile, data, where, ratio)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:  # resampling would make a gigabyte of a kilobyte
        raise UserError(f"{where}: says that it has {rate} samples a second, which no recording has; write it anew")
    if samples_SC.shape[1] > 1 and stereo == "refuse":
        raise UserError(f"{where}: has {samples_SC.shape[1]} channels; mix them down with data.stereo=mix")
    samples_S = samples_SC.mean(1)
    if not np.isfinite(samples_S).all():
        raise UserError(f"{where}: has samples that are NaN or infinite; write the file anew")
    return Sound(samples_S, rate, len(data), hashlib.sha256(data).hexdigest())


def sound_blocks(path: Path, where: str, frames: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rate and the samples ``[S, C]`` of a sound file, so many frames at a time, without holding it whole.

    Raises:
        UserError: as `read_sound`, but that a file which is cut off ends where it is cut.
    """
    soundfile = _soundfile()
    try:
        with soundfile.SoundFile(path) as file:
            while len(block_SC := file.read(frames, dtype="float32", always_2d=True)):
                yield file.samplerate, block_SC
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise UserError(f"{where}: is no sound that can be read ({reason}); give WAV, FLAC or Ogg") from error


def at_rate(sound: Sound, sample_rate: int, where: str, allowed: bool) -> np.ndarray:
    """Return the samples at `sample_rate`.

    Raises:
        UserError: if they have another rate and resampling is not allowed.
    """
    if sound.sample_rate == sample_rate:
        return sound.samples_S
    if not allowed:
        raise UserError(
            f"{where}: has {sound.sample_rate} samples a second, not {sample_rate}; convert it with data.resample=true"
        )
    return resample(sound.samples_S, sound.sample_rate, sample_rate)


def _decode(soundfile: Any, data: bytes, where: str, ratio: int) -> tuple[np.ndarray, int]:
    blocks: list[np.ndarray] = []
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            promised, rate, channels = file.frames, file.samplerate, file.channels
            size = 0
            while len(block := file.read(max(1, BLOCK // channels), dtype="float32", always_2d=True)):
                blocks.append(block)
                size += block.nbytes
                check_unpacked(size, len(data), where, ratio)
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise UserError(f"{where}: is no sound that can be read ({reason}); give WAV, FLAC or Ogg") from error
    read = sum(map(len, blocks))
    if not read:
        raise UserError(f"{where}: has no samples; leave it out, or record it anew")
    if read != promised:
        raise UserError(
            f"{where}: its header promises {promised:,} samples and it has {read:,}; it is cut off or "
            "damaged, restore it"
        )
    return np.concatenate([np.empty((0, channels), np.float32), *blocks]), rate


def _check_whole(data: bytes, where: str) -> None:
    """Refuse what the decoder would pass over: a WAV header that promises too much, an Ogg without its end."""
    if not data:
        raise UserError(f"{where}: is empty; leave it out, or restore it")
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        _check_wav(data, where)
    elif data[:4] == b"OggS":
        last = data.rfind(b"OggS", max(len(data) - TAIL, 0))
        if last < 0 or len(data) < last + 27 or not data[last + 5] & LAST_PAGE:
            raise UserError(f"{where}: has no last page, so it is cut off; restore it")


def _check_wav(data: bytes, where: str) -> None:
    """Walk over the chunks of a WAV file (a name, a length in 4 bytes, and so many bytes, padded to even)."""
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"data":
            there = len(data) - place - 8
            if size > there and data[:4] == b"RIFF":
                raise UserError(
                    f"{where}: its header promises {size:,} bytes of sound and the file has {there:,}; it is cut off "
                    "or was never finished, restore it"
                )
            return
        place += 8 + size + size % 2
    raise UserError(f"{where}: is a WAV file without its sound; it is cut off, restore it")


def _soundfile() -> Any:
    try:
        import soundfile  # type: ignore[import-untyped]
    except (ImportError, OSError) as error:  # OSError: its C library is missing
        raise UserError("sound files need the package soundfile; pip install 'rnntrain[audio]'") from error
    return soundfile
