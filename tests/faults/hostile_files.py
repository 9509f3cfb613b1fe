"""How hostile files of data are written: bombs, headers that lie, pickles, links, pipes. `hostile_data` lists them."""

from __future__ import annotations

import gzip
import io
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

Case = Callable[[Path, Path], list[str]]

SERIES = ["data=series", "task=forecasting"]
LABELLED = ["data=labelled_text", "task=classification"]
TAGGED = ["data=columns", "task=tagging"]
ARRAYS = ["data=arrays", "task=classification"]
MUSIC = ["data=pianoroll", "task=music"]
AUDIO = ["data=audio", "data.target=label", "task=classification"]
TEXT = ["data=text"]
GIBIBYTE = 1 << 30


class Payload:
    """Unpickled, it would make a file outside."""

    def __init__(self, outside: Path) -> None:
        self._path = str(outside / "executed")

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self._path, "w")


def file(name: str, content: bytes | Callable[[Path], bytes], kind: list[str], *words: str) -> Case:
    """Return a case that checks one file."""

    def write(folder: Path, outside: Path) -> list[str]:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content(outside))
        return ["check", *kind, f"data.path={name}", "model.hidden_size=8", *words]

    return write


def special(name: str, make: Callable[[Path], object], kind: list[str], *words: str) -> Case:
    """Return a case whose data path is made by a function: a pipe, a sparse file, a link."""

    def write(folder: Path, outside: Path) -> list[str]:
        make(folder / name)
        return ["check", *kind, f"data.path={name}", "model.hidden_size=8", *words]

    return write


def at(path: str, kind: list[str], *words: str) -> Case:
    return lambda folder, outside: ["check", *kind, f"data.path={path}", "model.hidden_size=8", *words]


def sparse(head: bytes = b"", size: int = GIBIBYTE) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.write(head)
            file.truncate(size)

    return make


def zeros_gz(megabytes: int, head: bytes = b"", piece: bytes = b"\0") -> bytes:
    """Return gzip of so many megabytes, a thousandth of their size."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as target:
        target.write(head)
        block = piece * ((1 << 20) // len(piece))
        for _ in range(megabytes):
            target.write(block)
    return packed.getvalue()


def twice_gz(outside: Path) -> bytes:
    return gzip.compress(zeros_gz(100))


def npy_header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    target = io.BytesIO()
    np.lib.format.write_array_header_1_0(target, {"descr": descr, "fortran_order": False, "shape": shape})
    return target.getvalue()


def npz(**members: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return target.getvalue()


def npz_bomb(outside: Path) -> bytes:
    target = io.BytesIO()
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x_train.npy", "w") as file,
    ):
        file.write(npy_header((1000, 1 << 17), "|u1"))
        for _ in range(125):
            file.write(bytes(1 << 20))
    return target.getvalue()


def npz_objects(outside: Path) -> bytes:
    target = io.BytesIO()
    np.savez(target, x_train=np.array([Payload(outside)], object))
    return target.getvalue()


def npz_evaluated(outside: Path) -> bytes:
    head = f"{{'descr': __import__('os').mkdir({str(outside / 'executed')!r}), 'fortran_order': False, 'shape': (1,)}}"
    head = head.ljust((-10 - len(head)) % 64 + len(head) - 1) + "\n"
    return npz(x_train=b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode())


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matlab(*bodies: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + b"".join(bodies)


def matrix(shape: tuple[int, ...], content: bytes, kind: int = 9) -> bytes:
    parts = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, parts + element(1, b"traindata") + element(2, content))


def nested_cells(levels: int) -> bytes:
    body = element(14, element(6, struct.pack("<II", 6, 0)) + element(5, struct.pack("<ii", 0, 0)) + element(1, b""))
    for _ in range(levels):
        body = element(
            14, element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, 1)) + element(1, b"") + body
        )
    return body


def packed(body: bytes) -> bytes:
    return struct.pack("<II", 15, len(squeezed := zlib.compress(body, 1))) + squeezed


def wav(frames: bytes = bytes(2000), rate: int = 8000) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(frames)
    return target.getvalue()


def lying_wav(size: int, channels: int = 1, rate: int = 8000, bits: int = 16) -> bytes:
    head = (
        b"RIFF"
        + struct.pack("<I", size + 36)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, channels, rate, min(rate * 2, 2**32 - 1), 2, bits)
    )
    return head + b"data" + struct.pack("<I", size) + bytes(2000)


def flac_bomb(outside: Path) -> bytes:
    import soundfile

    target = io.BytesIO()
    with soundfile.SoundFile(target, "w", 8000, 1, format="FLAC", subtype="PCM_16") as sound:
        for _ in range(60):
            sound.write(np.zeros(1 << 20, np.int16))
    return target.getvalue()


def sounds(**files: bytes | Callable[[Path], bytes]) -> Case:
    """Return a case of a folder of recordings, one label a folder."""

    def write(folder: Path, outside: Path) -> list[str]:
        for label in ("a", "b"):
            (folder / "sounds" / label).mkdir(parents=True)
            for number in range(4):
                (folder / "sounds" / label / f"good{number}.wav").write_bytes(wav())
        for name, content in files.items():
            path = folder / "sounds/a" / name.replace("_", ".")
            path.write_bytes(content if isinstance(content, bytes) else content(outside))
        return ["check", *AUDIO, "data.path=sounds", "model.hidden_size=8", "data.resample=true"]

    return write


def manifest(path: str, link: str | None = None) -> Case:
    """Return a case of a list of recordings that names one outside its folder."""

    def write(folder: Path, outside: Path) -> list[str]:
        (outside / "secret.wav").write_bytes(wav())
        (folder / "in").mkdir()
        if link:
            (folder / "in" / link).symlink_to(outside / "secret.wav" if link.endswith(".wav") else outside)
        named = path.replace("{outside}", str(outside))
        (folder / "in/list.csv").write_text("path,label\n" + f"{named},a\n{named},b\n" * 4)
        return ["check", *AUDIO, "data.path=in/list.csv", "model.hidden_size=8"]

    return write


def parquet_bomb(rows: int, text: str | None = None) -> Callable[[Path], bytes]:
    def write(outside: Path) -> bytes:
        import pyarrow
        from pyarrow import parquet

        target = io.BytesIO()
        cells = pyarrow.array(np.zeros(rows)) if text is None else pyarrow.array([text] * rows)
        parquet.write_table(
            pyarrow.table({"time": pyarrow.array(np.zeros(rows)), "x": cells}), target, compression="zstd"
        )
        return target.getvalue()

    return write


def compact(*fields: int | bytes) -> bytes:
    """Return a structure of Thrift's compact protocol: numbers, and structures already written; -1 for none."""
    written, last = b"", 0
    for number, value in enumerate(fields, 1):
        if value == -1:
            continue
        written += bytes([(number - last) << 4 | (5 if isinstance(value, int) else 12)])
        written += varint(2 * value) if isinstance(value, int) else value
        last = number
    return written + b"\0"


def varint(value: int) -> bytes:
    written = b""
    while value > 127:
        written, value = written + bytes([value & 127 | 128]), value >> 7
    return written + bytes([value])


def zstd_of_zeros(blocks: int) -> bytes:
    """Return a frame of so many blocks of 128 KiB, four bytes each."""
    block = 1 << 17
    heads = [(last | 1 << 1 | block << 3).to_bytes(3, "little") + b"\0" for last in [0] * (blocks - 1) + [1]]
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", blocks * block) + b"".join(heads)


def parquet_page(header: Callable[[int], bytes], content: bytes = b"") -> Callable[[Path], bytes]:
    """Return a file whose footer is right, and whose one page of `x` has another header and content.

    Args:
        header: is given the bytes that the page has to have and returns its header.
    """

    def write(outside: Path) -> bytes:
        import pyarrow
        from pyarrow import parquet

        target, draw = io.BytesIO(), np.random.default_rng(0)
        table = pyarrow.table({"x": draw.random(20_000)})
        parquet.write_table(table, target, compression="zstd", use_dictionary=False)
        data = bytearray(target.getvalue())
        chunk = parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
        start, size = chunk.data_page_offset, chunk.total_compressed_size
        head = header(size - len(header(size)))
        page = (head + content).ljust(size, b"\0")
        assert len(page) == size
        data[start : start + size] = page
        return bytes(data)

    return write


def page_of_two_gigabytes(size: int) -> bytes:
    """Return the header of a page of data that unpacks to all that a header can say."""
    return compact(0, (1 << 31) - (1 << 17), size, -1, compact(20_000, 0, 3, 3))


def dictionary_of_billions(size: int) -> bytes:
    """Return the header of a page that holds as many values of a dictionary as a header can say."""
    return compact(2, 1 << 17, len(zstd_of_zeros(1)), -1, -1, -1, compact((1 << 31) - 1, 0))


def jsonl(line: str, number: int = 1) -> bytes:
    return (line + "\n").encode() * number
