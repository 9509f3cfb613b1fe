"""NumPy's `.npz` archives, read without pickle and without believing a size that the bytes do not bear out."""

# N sequences, T time

from __future__ import annotations

import hashlib
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from rnntrain.data.bounded import open_data, unpacked_limit
from rnntrain.errors import UserError, closest

MOST_BYTES = 1 << 32  # of all arrays of an archive together
BLOCK = 1 << 20
KINDS = "biufU"  # truth values, numbers, texts; objects would be pickles
SPLIT_KEYS = {"train": ("train",), "val": ("val", "valid", "validation", "dev"), "test": ("test",)}


def read_npz(path: Path, key: str) -> dict[str, np.ndarray]:
    """Return the arrays of an archive by name.

    Args:
        key: the config key that the path comes from, for messages.

    Raises:
        UserError: the file cannot be read, is no archive of arrays, is damaged, or larger than `MOST_BYTES`.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with open_data(path, f"{key}={path}") as file, zipfile.ZipFile(file) as archive:
            left = min(MOST_BYTES, unpacked_limit(os.fstat(file.fileno()).st_size))
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename:
                    raise UserError(f"{key}={path}: {name} in it is no array; save it with numpy.savez")
                with archive.open(member) as stream:
                    arrays[name] = _read_array(stream, f"{key}={path}: {name}", left)
                left -= arrays[name].nbytes
    except OSError as error:
        raise UserError(f"{key}={path}: cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{key}={path}: is damaged or no .npz file ({error}); save it with numpy.savez") from error
    return arrays


def _read_array(stream: IO[bytes], place: str, most: int) -> np.ndarray:
    """Read one array: its header first, then as many bytes as that says, a block at a time."""
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except ValueError as error:
        raise UserError(f"{place}: is no array ({' '.join(str(error).split())[:100]})") from error
    if dtype.kind not in KINDS:
        raise UserError(f"{place}: holds {dtype.name}; only numbers and texts are read, never pickled objects")
    size = math.prod(shape) * dtype.itemsize  # in Python's own integers, which do not overflow
    if size > most:
        raise UserError(
            f"{place}: would take {size:,} bytes; at most {most:,} more are read from this file: save it with "
            "numpy.savez, which does not compress, or in parts"
        )
    content = bytearray()  # grows with what is really there, whatever the header promises
    while len(content) < size:
        block = stream.read(min(BLOCK, size - len(content)))
        if not block:
            raise UserError(f"{place}: ends after {len(content):,} of {size:,} bytes; the file is damaged")
        content += block
    if stream.read(1):
        raise UserError(f"{place}: goes on beyond its {size:,} bytes; the file is damaged")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def find(arrays: dict[str, np.ndarray], letter: str, split: str) -> tuple[str, np.ndarray] | None:
    """Return name and array of one part of a split: `x_train`, `X_train` or `train_x`, and the like.

    What no split is named of, `x` alone, is for training.
    """
    names = [
        name
        for word in SPLIT_KEYS[split]
        for name in (f"{letter}_{word}", f"{letter.upper()}_{word}", f"{word}_{letter}")
    ]
    if split == "train":
        names += [letter, letter.upper()]
    return next(((name, arrays[name]) for name in names if name in arrays), None)


def sequences(arrays: dict[str, np.ndarray], split: str, place: str) -> list[np.ndarray] | None:
    """Return the sequences of a split, ``[T, ...]`` each, or None where the archive has no such split.

    They stand in one array ``x``: with ``lengths``, either padded, ``[N, T, ...]``, or end to end,
    ``[sum of lengths, ...]``; without, all of one length.

    Args:
        place: the archive, for messages.
    """
    found = find(arrays, "x", split)
    if found is None:
        return None
    name, x = found
    if x.ndim < 2:
        raise UserError(f"{place}: {name} has the shape {list(x.shape)}; give [sequences, time] or more dimensions")
    lengths = find(arrays, "lengths", split)
    if lengths is None:
        return list(x)
    lengths_N = lengths[1]
    if lengths_N.ndim != 1 or lengths_N.dtype.kind not in "iu":
        raise UserError(f"{place}: {lengths[0]} must be one whole number a sequence")
    if (lengths_N < 1).any():
        row = int((lengths_N < 1).argmax())
        raise UserError(f"{place}: {lengths[0]}[{row}]={lengths_N[row]}; a sequence has at least one step")
    # One row a sequence, and none longer than a row: of two dimensions alone it is steps end to end all the same.
    end_to_end = int(lengths_N.sum()) == len(x) and (x.ndim == 2 or len(lengths_N) != len(x))
    if len(lengths_N) == len(x) and not end_to_end:
        too_long_N = lengths_N > x.shape[1]
        if too_long_N.any():
            row = int(too_long_N.argmax())
            raise UserError(f"{place}: {lengths[0]}[{row}]={lengths_N[row]}, but {name} has {x.shape[1]} steps")
        return [row_T[:length] for row_T, length in zip(x, lengths_N.tolist(), strict=True)]
    if not end_to_end:
        raise UserError(
            f"{place}: {lengths[0]} has {len(lengths_N):,} lengths, {int(lengths_N.sum()):,} in sum; {name} has "
            f"{len(x):,} rows, which must be either of the two"
        )
    return np.split(x, np.cumsum(lengths_N)[:-1])


def check_names(arrays: dict[str, np.ndarray], place: str) -> None:
    """Refuse an archive that has no training sequences, and say what it has."""
    if find(arrays, "x", "train") is None:
        near = closest("x_train", list(arrays))
        raise UserError(f"{place}: has no x or x_train{near}; it has: {', '.join(sorted(arrays)[:12]) or 'nothing'}")


def sha256_of(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file."""
    with open_data(path, str(path)) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}
