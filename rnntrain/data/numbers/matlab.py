"""MATLAB 5 files, as far as data sets of old use them: named matrices of numbers, and cells of such.

The format is public ("MAT-File Format", The MathWorks). Nothing in a file is run, and no size that it states is
believed before there are bytes for it.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from rnntrain.data.bounded import read_whole, unpacked_limit
from rnntrain.errors import UserError

MOST_BYTES = 1 << 28  # of one variable, unpacked
DEEPEST = 4  # cells within cells
HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
CELL = 1
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


def read_matlab(path: Path, key: str) -> dict[str, Any]:
    """Return the variables of a file by name: arrays, and lists (in MATLAB's own order) for cells.

    Args:
        key: the config key that the path comes from, for messages.

    Raises:
        UserError: the file cannot be read, is of another version, is damaged or holds other things.
    """
    try:
        content = read_whole(path, f"{key}={path}")
    except OSError as error:
        raise UserError(f"{key}={path}: cannot be read ({error.strerror})") from error
    if content[126:128] not in (b"IM", b"MI"):
        raise UserError(f"{key}={path}: is no MATLAB 5 file; save it with `save -v7`, or as .npz")
    order = "<" if content[126:128] == b"IM" else ">"
    variables: dict[str, Any] = {}
    left = unpacked_limit(len(content))
    try:
        for kind, data in _elements(memoryview(content)[HEADER_BYTES:], order):
            kind, data = _unpacked(kind, data, order, min(MOST_BYTES, left))
            left -= len(data)
            if kind != MATRIX:
                raise ValueError(f"element type {kind} where a matrix is due")
            name, value = _matrix(data, order, DEEPEST)
            variables[name] = value
    except (ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{key}={path}: the file is damaged or holds more than numbers ({error})") from error
    return variables


def _unpacked(kind: int, data: memoryview, order: str, most: int) -> tuple[int, memoryview]:
    if kind != COMPRESSED:
        return kind, data
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, max(1, most))
    if unpacker.unconsumed_tail:
        raise ValueError(f"a variable of more than {most:,} bytes, which no file of its size means")
    return next(iter(_elements(memoryview(unpacked), order)), (0, data))


def _elements(data: memoryview, order: str) -> list[tuple[int, memoryview]]:
    """Return type and content of each element that the bytes hold, one after the other."""
    elements, place = [], 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, place)
        start = place + 8
        if kind >> 16:  # a small element: both in the first word, and the content in the second
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
        else:
            place = start + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError(f"an element of {size:,} bytes where {len(data) - start:,} are left")
        elements.append((kind, data[start : start + size]))
    return elements


def _matrix(data: memoryview, order: str, depth: int) -> tuple[str, Any]:
    """Return name and value of one matrix: its flags, dimensions, name and content."""
    parts = _elements(data, order)
    if len(parts) < 3 or depth == 0:
        raise ValueError("a matrix without its parts")
    (flags,) = struct.unpack_from(order + "I", parts[0][1])
    shape = tuple(np.frombuffer(parts[1][1], order + "i4").tolist())
    name = bytes(parts[2][1]).decode("latin-1")
    if flags & 0xFF == CELL:
        return name, [_matrix(content, order, depth - 1)[1] for _, content in parts[3:]]
    if len(parts) != 4 or parts[3][0] not in NUMBERS:
        raise ValueError(f"{name or 'a cell'}: not a matrix of real numbers")
    numbers = np.frombuffer(parts[3][1], order + NUMBERS[parts[3][0]])
    return name, numbers.reshape(shape, order="F")  # which refuses a shape that the content does not fill
