"""Files of data that somebody wrote to run code, to read elsewhere, to hang or to exhaust the machine."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import pickle
import struct
from pathlib import Path

from faults.hostile_files import (
    ARRAYS,
    AUDIO,
    LABELLED,
    MUSIC,
    SERIES,
    TAGGED,
    TEXT,
    Case,
    Payload,
    at,
    dictionary_of_billions,
    file,
    flac_bomb,
    jsonl,
    lying_wav,
    manifest,
    matlab,
    matrix,
    nested_cells,
    npy_header,
    npz,
    npz_bomb,
    npz_evaluated,
    npz_objects,
    packed,
    page_of_two_gigabytes,
    parquet_bomb,
    parquet_page,
    sounds,
    sparse,
    special,
    twice_gz,
    wav,
    zeros_gz,
    zstd_of_zeros,
)

DATA: dict[str, Case] = {
    "text: a pipe": special("a.txt", os.mkfifo, TEXT),
    "text: /dev/zero": at("/dev/zero", TEXT),
    "text: /dev/random": at("/dev/random", TEXT),
    "text: a terminal": at("/dev/tty", TEXT),
    "text: /proc/self/mem": at("/proc/self/mem", TEXT),
    "text: /proc/kmsg": at("/proc/kmsg", TEXT),
    "text: a link to a device": special("a.txt", lambda path: path.symlink_to("/dev/zero"), TEXT),
    "text: a link to itself": special("a.txt", lambda path: path.symlink_to(path), TEXT),
    "text: a folder that holds itself": special("a", lambda path: (path.mkdir(), (path / "b").symlink_to(path)), TEXT),
    "text: a terabyte of nothing": special("a.txt", sparse(b"text", 1 << 40), TEXT),
    "text: zero bytes": file("a.txt", bytes(10_000), TEXT),
    "text: lone surrogates": file("a.txt", b"\xed\xa0\x80" * 1000, TEXT),
    "text: overlong slash": file("a.txt", b"..\xc0\xaf" * 1000, TEXT),
    "text: name with terminal codes": file("a\x1b[2J.txt", b"\xff", TEXT),
    "text: vocabulary from a device": file(
        "a.txt", b"some words " * 100, TEXT, "data.unit=word", "data.vocab_path=/dev/zero"
    ),
    "text: a known set that leads out": at("@sms/../../../../../../etc/passwd", TEXT),
    "text: a known set named by points": at("@../../../etc/passwd", TEXT),
    "series: a pipe": special("a.csv", os.mkfifo, SERIES),
    "series: /dev/zero": at("/dev/zero", SERIES),
    "series: /proc/self/mem": at("/proc/self/mem", SERIES),
    "series: a folder": special("a.csv", Path.mkdir, SERIES),
    "series: a line of a gigabyte": special("a.csv", sparse(b"time,x\n"), SERIES),
    "series: a million columns": file("a.csv", b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n", SERIES),
    "series: a million columns alike": file("a.csv", b"x," * 1_000_000 + b"\n1\n", SERIES),
    "series: gzip bomb": file("a.csv.gz", lambda outside: zeros_gz(300), SERIES),
    "series: gzip bomb of rows": file(
        "a.csv.gz", lambda outside: zeros_gz(300, b"time,x\n", b"2020-01-01,1\n"), SERIES
    ),
    "series: gzip of gzip": file("a.csv.gz", twice_gz, SERIES),
    "series: a quote that never ends": file("a.csv", b'time,x\n"' + b"1,2\n" * 400_000, SERIES),
    "series: formulas": file("a.csv", b"time,x\n" + b"=cmd|'/c calc'!A0,1\n" * 100, SERIES),
    "series: numbers of many digits": file("a.csv", b"time,x\n" + b"2020-01-01," + b"9" * 100_000 + b"\n", SERIES),
    "series: parquet with a pickle": file("a.parquet", lambda outside: pickle.dumps(Payload(outside)), SERIES),
    "series: parquet of a hundred million rows": file("a.parquet", parquet_bomb(20_000_000), SERIES, "data.time=time"),
    "series: parquet with a page of two gigabytes": file(
        "a.parquet", parquet_page(page_of_two_gigabytes, zstd_of_zeros((1 << 14) - 1)), SERIES
    ),
    "series: parquet with a dictionary of billions": file(
        "a.parquet", parquet_page(dictionary_of_billions, zstd_of_zeros(1)), SERIES
    ),
    "series: parquet cut off": file(
        "a.parquet", b"PAR1" + bytes(100) + struct.pack("<I", 0x7FFFFFFF) + b"PAR1", SERIES
    ),
    "labelled: a pipe": special("a.csv", os.mkfifo, LABELLED),
    "labelled: /dev/zero": at("/dev/zero", LABELLED),
    "labelled: a line of a gigabyte": special("a.csv", sparse(b"text,label\n"), LABELLED),
    "labelled: a million columns": file("a.csv", b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n", LABELLED),
    "labelled: gzip bomb": file("a.csv.gz", lambda outside: zeros_gz(300), LABELLED),
    "labelled: gzip bomb of rows": file("a.tsv.gz", lambda outside: zeros_gz(300, piece=b"x\ty\n"), LABELLED),
    "labelled: deep JSON": file("a.jsonl", b"[" * 1_000_000 + b"\n", LABELLED),
    "labelled: deep JSON in a field": file(
        "a.jsonl", jsonl('{"text": ' + "[" * 100_000 + "]" * 100_000 + ', "label": 1}'), LABELLED
    ),
    "labelled: JSON of a huge number": file(
        "a.jsonl", jsonl('{"text": "a", "label": ' + "9" * 100_000 + "}", 20), LABELLED
    ),
    "labelled: JSON with other keys each line": file(
        "a.jsonl", b"".join(b'{"k%d": 1, "text": "a", "label": 1}\n' % n for n in range(5000)), LABELLED
    ),
    "labelled: a folder of links out": special(
        "a", lambda path: (path.mkdir(), *((path / name).symlink_to("/etc") for name in ("x", "y"))), LABELLED
    ),
    "labelled: gzip that is a pickle": file(
        "a.csv.gz", lambda outside: gzip.compress(pickle.dumps(Payload(outside))), LABELLED
    ),
    "tagged: a pipe": special("a.conll", os.mkfifo, TAGGED),
    "tagged: /dev/zero": at("/dev/zero", TAGGED),
    "tagged: a line of a gigabyte": special("a.conll", sparse(b"a B-x\n"), TAGGED),
    "tagged: a million columns": file("a.conll", b"x " * 1_000_000 + b"\n", TAGGED),
    "tagged: a token of a megabyte": file("a.conll", b"x" * (1 << 20) + b"\tO\n\n", TAGGED),
    "tagged: vectors from a device": file("a.conll", b"Ada\tB-x\n\n" * 100, TAGGED, "task.vectors=/dev/zero"),
    "arrays: a pipe": special("a.npz", os.mkfifo, ARRAYS),
    "arrays: /dev/zero": at("/dev/zero", ARRAYS),
    "arrays: pickled objects": file("a.npz", npz_objects, ARRAYS),
    "arrays: a pickle": file("a.npz", lambda outside: pickle.dumps(Payload(outside)), ARRAYS),
    "arrays: an expression for a header": file("a.npz", npz_evaluated, ARRAYS),
    "arrays: bomb": file("a.npz", npz_bomb, ARRAYS),
    "arrays: a header of 10^18": file("a.npz", npz(x_train=npy_header((10**9, 10**9))), ARRAYS),
    "arrays: negative dimensions": file("a.npz", npz(x_train=npy_header((-1, 5))), ARRAYS),
    "arrays: a million members": file("a.npz", npz(**{f"a{n}": npy_header((0,)) for n in range(3000)}), ARRAYS),
    "arrays: names that lead out": file("a.npz", npz(**{"../../evil": npy_header((0,))}), ARRAYS),
    "arrays: lengths that overflow": file(
        "a.npz",
        npz(
            x_train=npy_header((4, 3)) + bytes(96),
            lengths_train=npy_header((2,), "<i8") + struct.pack("<qq", 2**62, 2**62),
        ),
        ARRAYS,
    ),
    "arrays: a text of 4 GB each": file("a.npz", npz(x_train=npy_header((1,), "<U1000000000")), ARRAYS),
    "matlab: a pipe": special("a.mat", os.mkfifo, MUSIC),
    "matlab: an element of 4 GB": file("a.mat", matlab(struct.pack("<II", 14, 2**32 - 1)), MUSIC),
    "matlab: bomb": file("a.mat", lambda outside: matlab(packed(bytes(150 << 20))), MUSIC),
    "matlab: many bombs": file(
        "a.mat", lambda outside: matlab(*[packed(matrix((60 << 20, 1), bytes(60 << 20)))] * 8), MUSIC
    ),
    "matlab: a shape that lies": file("a.mat", matlab(matrix((2**31 - 1, 2**31 - 1), bytes(8))), MUSIC),
    "matlab: a negative shape": file("a.mat", matlab(matrix((-1, -8), bytes(8))), MUSIC),
    "matlab: cells in cells": file("a.mat", matlab(nested_cells(2000)), MUSIC),
    "matlab: an object": file("a.mat", matlab(matrix((1, 1), bytes(8), kind=3)), MUSIC),
    "audio: a header of 4 GB": sounds(evil_wav=lying_wav(2**32 - 40)),
    "audio: 65535 channels": sounds(evil_wav=lying_wav(2000, channels=65535)),
    "audio: one sample a second": sounds(evil_wav=wav(rate=1)),
    "audio: four billion samples a second": sounds(evil_wav=lying_wav(2000, rate=2**32 - 1)),
    "audio: no bits a sample": sounds(evil_wav=lying_wav(2000, bits=0)),
    "audio: FLAC of hours of silence": sounds(evil_flac=flac_bomb),
    "audio: a pickle": sounds(evil_wav=lambda outside: pickle.dumps(Payload(outside))),
    "audio: a path outside": manifest("../../outside/secret.wav"),
    "audio: an absolute path": manifest("{outside}/secret.wav"),
    "audio: a link outside": manifest("good.wav", link="good.wav"),
    "audio: through a linked folder": manifest("folder/secret.wav", link="folder"),
    "audio: a device in the list": manifest("../../../../../../../dev/zero"),
    "audio: a deep list": lambda folder, outside: (
        (folder / "list.json").write_text("[" * 100_000),
        ["check", *AUDIO, "data.path=list.json"],
    )[1],
}


# Only `rnntrain data get` unpacks these; nothing unpacks a file by its name alone.
PACKED = {"bz2": bz2.compress(bytes(1 << 26)), "xz": lzma.compress(bytes(1 << 24))}
DATA |= {f"text: {end} by its name": file(f"a.{end}", content, TEXT) for end, content in PACKED.items()}
