"""Parquet files, unpacked in a process of its own, to which the system gives no more memory than such a file can mean.

What a Parquet file says of its sizes stands in its pages too, and each may lie: one header of a few bytes makes its
reader ask for gigabytes, before any of its numbers could be compared with another. Nothing but a limit on the process
that reads it holds whatever the file says; and a reader that crashes takes nothing along.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from rnntrain.data import bounded
from rnntrain.errors import USER_MISTAKE, UserError

BATCH_ROWS = 1 << 14  # that are unpacked at once
FOR_ITSELF_BYTES = 192 << 20  # of addresses: what the reader needs beside the content of a file
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
Columns = dict[str, list[str] | np.ndarray]


def read_parquet(content: bytes, where: str) -> Columns:
    """Return the columns of a Parquet file: numbers as numbers, all else as text.

    Args:
        where: the file as messages name it.

    Raises:
        UserError: it is damaged, empty, or comes to more than a file of its size can mean; or pyarrow is missing.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, where],  # -P: nothing in the working directory is taken for a module
        input=content,
        capture_output=True,
        env={**os.environ, **ONE_THREAD},
    )
    if done.returncode == USER_MISTAKE:
        raise UserError(done.stderr.decode(errors="replace").strip())
    if done.returncode:
        raise UserError(
            f"{where}: cannot be read as Parquet in {_limit(len(content)) >> 20:,} MB, or breaks its reader; get it "
            "anew, or write it as CSV if you trust it"
        )
    return _columns(done.stdout)


def _limit(packed_bytes: int) -> int:
    return bounded.unpacked_limit(packed_bytes) + packed_bytes + FOR_ITSELF_BYTES


def _columns(data: bytes) -> Columns:
    """Put together what `_write` has written."""
    view, place = memoryview(data), data.index(b"\n") + 1
    names, numeric = json.loads(data[:place])
    parts: list[list[Any]] = [[] for _ in names]
    while place < len(data):
        end = data.index(b"\n", place)
        rows, texts = json.loads(view[place:end].tobytes())
        place = end + 1
        for part, is_number in zip(parts, numeric, strict=True):
            if is_number:
                part.append(np.frombuffer(view[place : place + 8 * rows], np.float64))
                place += 8 * rows
            else:
                part += texts.pop(0)
    return {
        name: np.concatenate(part) if is_number else part
        for name, part, is_number in zip(names, parts, numeric, strict=True)
    }


# -- the process ---


def main() -> int:
    """Read a file from the standard input and write its columns to the standard output."""
    where = sys.argv[1]
    try:
        import pyarrow  # type: ignore[import-untyped,import-not-found,unused-ignore]
        from pyarrow import parquet  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return _refuse(f"{where}: Parquet needs pyarrow: pip install 'rnntrain[parquet]'")
    try:
        content = sys.stdin.buffer.read()
        _bind(_limit(len(content)))
        file = parquet.ParquetFile(pyarrow.BufferReader(content), pre_buffer=False)
        _write(file, sys.stdout.buffer, where, len(content))
        sys.stdout.buffer.flush()
    except UserError as error:
        return _refuse(str(error))
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        return _refuse(f"{where}: is no whole Parquet file ({reason}); get it anew")
    return 0


def _refuse(line: str) -> int:
    sys.stderr.buffer.write(line.encode())
    return USER_MISTAKE


def _bind(limit: int) -> None:
    """Take so many bytes of addresses more at most, from here on."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = used + limit if hard == resource.RLIM_INFINITY else min(used + limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _write(file: Any, target: IO[bytes], where: str, packed_bytes: int) -> None:
    """Write names and kinds of columns, then some rows at a time: a line of JSON, and numbers as they are in memory."""
    bounded.check_columns(file.metadata.num_columns, where)
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    bounded.check_unpacked(sum(group.total_byte_size for group in groups), packed_bytes, where)
    if not file.metadata.num_rows or not file.metadata.num_columns:
        raise UserError(f"{where}: has no rows; give one row for each time")
    numeric = [_is_number(field.type) for field in file.schema_arrow]
    target.write(json.dumps([file.schema_arrow.names, numeric]).encode() + b"\n")
    size = 0
    for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
        size += batch.nbytes
        bounded.check_unpacked(size, packed_bytes, where)
        for piece in _pieces(batch, numeric):
            target.write(piece)


def _pieces(batch: Any, numeric: list[bool]) -> Iterator[bytes]:
    import pyarrow

    columns = list(zip(batch.columns, numeric, strict=True))
    texts = [
        ["" if cell is None else _as_text(cell) for cell in column.to_pylist()]
        for column, is_number in columns
        if not is_number
    ]
    yield json.dumps([batch.num_rows, texts]).encode() + b"\n"
    for column, is_number in columns:
        if is_number:
            yield column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False).astype(np.float64).tobytes()


def _is_number(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind))


def _as_text(cell: object) -> str:
    iso = getattr(cell, "isoformat", None)  # a time is read further in one way, whatever the file
    return str(iso() if iso is not None else cell)


if __name__ == "__main__":
    sys.exit(main())
