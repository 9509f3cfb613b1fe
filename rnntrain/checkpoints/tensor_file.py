"""Tensors as a safetensors file, written as a stream.

The `safetensors` package would build the whole file in memory (`save`) or write it unhashed and unsynced
(`save_file`), and refuses tied weights. The format is a JSON header and the raw bytes, so it is written
here a tensor at a time: no second copy in memory, hashed on the way, and any safetensors reader opens it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Caps on what is parsed, so that no hostile checkpoint fills the memory; 16 MB hold a million words.
JSON_LIMIT_BYTES = 16 << 20
BRACKETS_LIMIT = 1 << 18
TENSORS_LIMIT = 50_000
DIMENSIONS_LIMIT = 64
ELEMENTS_LIMIT = 1 << 40

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def tensor_chunks(tensors: dict[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a safetensors file: the header, then one tensor at a time."""
    # Wide types first: safetensors allows no gaps, and in this order every tensor is aligned to its width.
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        if tensor.numel():
            yield _flat_bytes(tensor).numpy().data


def read_tensors(data: Tensor) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file whose bytes are given as a uint8 tensor.

    Raises:
        ValueError: the bytes are not such a file, or the places in it overlap or leave gaps.
    """
    if len(data) < 8:
        raise ValueError("is too short for a header")
    header_size = int.from_bytes(data[:8].numpy().tobytes(), "little")
    if header_size > min(JSON_LIMIT_BYTES, len(data) - 8):
        raise ValueError("has a header that is larger than the file or than what is read")
    text = data[8 : 8 + header_size].numpy().tobytes()
    check_json_size(text)
    try:
        header = json.loads(text)
    except RecursionError:
        header = None
    if not isinstance(header, dict) or len(header) > TENSORS_LIMIT + 1:
        raise ValueError(f"has no header of at most {TENSORS_LIMIT:,} tensors")
    header.pop("__metadata__", None)
    body = data[8 + header_size :]
    tensors: dict[str, Tensor] = {}
    end = 0
    for name, dtype, shape, start, stop in sorted(_entries(header), key=lambda entry: entry[3:]):
        if start != end or stop > len(body):
            raise ValueError(f"has a gap or an overlap at tensor {name[:80]!r}, or ends inside it")
        end = stop
        # A copy in memory of its own, which PyTorch aligns to 64 bytes as it did before the save: kernels
        # may round differently on memory that is aligned otherwise, and resuming must give the same bits.
        raw = body[start:stop].clone()
        tensors[name] = (raw != 0 if dtype is torch.bool else raw.view(dtype)).view(shape)
    if end != len(body):
        raise ValueError("has bytes that belong to no tensor")
    return tensors


def check_json_size(text: bytes) -> None:
    """Refuse JSON that would take much memory once parsed: an empty list takes 2 bytes of text and 64 here.

    Raises:
        ValueError: it is too large.
    """
    brackets = text.count(b"[") + text.count(b"{")
    if len(text) > JSON_LIMIT_BYTES or brackets > BRACKETS_LIMIT:
        raise ValueError(
            f"holds {len(text):,} bytes and {brackets:,} lists and dicts outside tensors, where "
            f"{JSON_LIMIT_BYTES:,} and {BRACKETS_LIMIT:,} are the limits: keep long lists as tensors"
        )


def _flat_bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().resolve_neg().contiguous().view(-1).view(torch.uint8)


def _entries(header: dict[str, Any]) -> Iterator[tuple[str, torch.dtype, list[int], int, int]]:
    for name, entry in header.items():
        try:
            dtype, shape, (start, stop) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            numbers = [*shape, start, stop]
            sound = all(type(n) is int and 0 <= n <= ELEMENTS_LIMIT for n in numbers)
            # Zeros count as ones: PyTorch computes strides of empty tensors too, and they must not overflow.
            sound = sound and len(shape) < DIMENSIONS_LIMIT and math.prod(n or 1 for n in shape) <= ELEMENTS_LIMIT
            sound = sound and stop - start == math.prod(shape) * dtype.itemsize
        except (TypeError, KeyError, ValueError):
            sound = False
        if not sound:
            raise ValueError(f"has a malformed entry for tensor {name[:80]!r}")
        yield name, dtype, shape, start, stop
