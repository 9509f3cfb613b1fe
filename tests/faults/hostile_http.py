"""Requests that somebody sends to a served model to crash it, to fill its memory or to reach what is not theirs.

Each names the model that is asked (it writes, classifies, forecasts or hears), what is sent, and the status of the
answer, 200 where what is hostile in it is passed over.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path

from faults.hostile_files import Payload, flac_bomb, lying_wav, wav, zeros_gz

MEGABYTE = 1 << 20
HERE = {"host": "localhost"}


@dataclass(frozen=True)
class Asked:
    """A request; `content` may be written when it is needed."""

    model: str
    status: int
    content: bytes = b""
    kind: str = "application/json"
    path: str = "/predict"
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def text(status: int, content: bytes, kind: str = "application/json", **headers: str) -> Asked:
    return Asked("classifies", status, content, kind, headers={k.replace("_", "-"): v for k, v in headers.items()})


def series(status: int, content: bytes, kind: str = "application/json") -> Asked:
    return Asked("forecasts", status, content, kind)


def sample(status: int, content: bytes | None = None, **options: object) -> Asked:
    return Asked("writes", status, json.dumps(options).encode() if content is None else content, path="/sample")


def sound(status: int, content: bytes) -> Asked:
    return Asked("hears", status, content, "audio/wav")


def at(path: str, status: int, method: str = "GET", **headers: str) -> Asked:
    return Asked("classifies", status, path=path, method=method, headers=headers)


def inputs(one: bytes) -> bytes:
    return b'{"inputs": [' + one + b"]}"


def hours(value: str) -> bytes:
    """Return two days of one value an hour, as a table."""
    rows = (f"2024-02-{1 + n // 24:02d} {n % 24:02d}:00,{value}\n" for n in range(48))
    return ("time,load\n" + "".join(rows)).encode()


GOOD = inputs(b'"good day"')
HOST = {
    "another site": "evil.example",
    "another site's port": "evil.example:8000",
    "a name before it": "localhost@evil.example",
    "a port before it": "localhost:8000@evil.example",
    "a name that begins alike": "localhost.evil.example",
    "an address in a name": "127.0.0.1.nip.example",
    "another address of the loopback": "127.0.0.2",
    "all addresses": "0.0.0.0",
    "a number for an address": "2130706433",
    "none": "",
}
REQUESTS: dict[str, Asked] = {
    "json: lists in lists": text(400, b'{"inputs": ' + b"[" * 400_000),
    "json: sixteen megabytes of lists": text(413, b"[" * 15_900_000),
    "json: two million objects": text(413, inputs(b'{"a":1},' * 1_900_000 + b"{}")),
    "json: half a million lists": text(413, inputs(b"[]," * 490_000 + b"[]")),
    "json: a million keys": text(400, b"{" + b",".join(b'"k%d":1' % n for n in range(1_000_000)) + b"}"),
    "json: a number of many digits": text(400, inputs(b"9" * 100_000)),
    "json: NaN": text(400, inputs(b"NaN")),
    "json: minus infinity": text(400, inputs(b"-Infinity")),
    "json: a number for a text": text(422, inputs(b"1e999")),
    "json: true for a text": text(422, inputs(b"true")),
    "json: an object for a text": text(422, inputs(b'{"__class__": "os"}')),
    "json: half a surrogate": text(400, inputs(b'"\\ud800"')),
    "json: half a surrogate as a key": text(400, b'{"\\uDC00": 1}'),
    "json: zero bytes": text(200, inputs(b'"\\u0000\\u0000"')),
    "json: terminal codes": text(200, inputs(b'"\\u001b[2J"')),
    "json: right to left": text(200, inputs(b'"\\u202etxt"')),
    "json: bytes that are no text": text(400, inputs(b'"\xff\xfe"')),
    "json: UTF-16": text(400, '{"inputs": ["\\ud800"]}'.encode("utf-16")),
    "json: one key twice": text(200, b'{"inputs": 3, "inputs": ["a"]}'),
    "json: a text of fifteen megabytes": text(200, inputs(b'"' + b"a" * 15_000_000 + b'"')),
    "json: a body of seventeen megabytes": text(413, b" " * 17_000_000),
    "json: packed with gzip": text(400, zeros_gz(300), content_encoding="gzip"),
    "json: a pickle": text(400, pickle.dumps(Payload(Path("/nowhere")))),
    "type: a form": text(415, b"inputs=a", "application/x-www-form-urlencoded"),
    "type: of plain text, as another site may send": text(415, GOOD, "text/plain"),
    "type: many parts": text(415, b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
    "type: none": text(415, GOOD, ""),
    "type: ten thousand signs": text(415, GOOD, "a" * 10_000),
    "type: signs of no type": text(415, GOOD, "\x7f/\x1b"),
    "length: negative": text(400, GOOD, content_length="-1"),
    "length: no number": text(400, GOOD, content_length="ten"),
    "length: beyond all": text(413, GOOD, content_length="9" * 5000),
    "origin: a page of another site": text(200, GOOD, origin="https://evil.example"),
    "origin: it asks before": at("/predict", 405, "OPTIONS", origin="https://evil.example"),
    **{f"host: {name}": at("/model", 421, host=host) for name, host in HOST.items()},
    "path: up": at("/../../../../etc/passwd", 404),
    "path: up in other signs": at("/%2e%2e/%2e%2e/%2e%2e/etc/passwd", 404),
    "path: up with backslashes": at("/..%5c..%5cetc%5cpasswd", 404),
    "path: a file of the package": at("/page.html", 404),
    "path: another machine": at("//evil.example/model", 404),
    "path: zero byte": at("/model%00", 404),
    "path: ten thousand signs": at("/" + "a" * 10_000, 404),
    "path: bytes that are no text": at("/%ff%fe", 404),
    "method: TRACE": at("/model", 405, "TRACE"),
    "method: PUT": at("/", 405, "PUT"),
    "csv: a line of ten megabytes": series(422, b"time,load\n" + b"1" * 10_000_000, "text/csv"),
    "csv: a million columns": series(422, b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n1\n", "text/csv"),
    "csv: packed with gzip": series(422, zeros_gz(300, b"time,load\n", b"2020-01-01,1\n"), "text/csv"),
    "csv: a quote that never ends": series(422, b'time,load\n"' + b"1,2\n" * 400_000, "text/csv"),
    "csv: infinity": series(422, b"time,load\n" + b"2024-01-01,inf\n" * 30, "text/csv"),
    "csv: numbers of many digits": series(422, b"time,load\n2024-01-01," + b"9" * 400 + b"\n", "text/csv"),
    "csv: zero bytes": series(422, bytes(100_000), "text/csv"),
    "csv: a name that leads out": series(422, b"time,../../load\n2024-01-01,1\n", "text/csv"),
    "series: infinity": series(422, inputs(b"[1e999]")),
    "series: a number beyond floats": series(422, inputs(b"[1" + b"0" * 400 + b"]")),
    "series: numbers beyond those of the model": series(200, hours("1e300"), "text/csv"),
    "series: texts": series(422, inputs(b'["=cmd|x"]')),
    "series: lists in lists": series(422, inputs(b"[" * 900 + b"]" * 900)),
    "series: nothing": series(422, inputs(b"[]")),
    "series: null": series(422, inputs(b"null")),
    "sample: a prompt of fifteen megabytes": sample(413, b'{"prompt": "' + b"a" * 15_000_000 + b'"}'),
    "sample: half a surrogate": sample(400, b'{"prompt": "\\udfff"}'),
    "sample: an infinite temperature": sample(422, b'{"temperature": 1e999}'),
    "sample: a temperature of almost nothing": sample(200, temperature=5e-324, length=2),
    "sample: a negative temperature": sample(422, temperature=-1.0),
    "sample: more choices than a number holds": sample(422, top_k=10**30, length=2),
    "sample: a seed beyond 64 bits": sample(422, seed=2**70, length=2),
    "sample: a negative seed": sample(422, seed=-1),
    "sample: true for a length": sample(422, length=True),
    "sample: a list for a length": sample(422, length=[3]),
    "sample: yes for a stream": sample(400, stream="yes"),
    "sound: a header of 4 GB": sound(422, lying_wav(2**32 - 40)),
    "sound: 65535 channels": sound(422, lying_wav(2000, channels=65535)),
    "sound: one sample a second": sound(422, wav(rate=1)),
    "sound: four billion samples a second": sound(422, lying_wav(2000, rate=2**32 - 1)),
    "sound: no bits a sample": sound(422, lying_wav(2000, bits=0)),
    "sound: hours of silence": sound(422, b"flac"),
    "sound: fifteen megabytes": sound(200, b"long"),
    "sound: a pickle": sound(422, pickle.dumps(Payload(Path("/nowhere")))),
    "sound: nothing": sound(422, b""),
    "sound: as JSON": Asked("hears", 415, inputs(b'"/etc/passwd"')),
}


def content_of(asked: Asked) -> bytes:
    """Return what is sent; two of the sounds are too large to be made whenever the table is read."""
    large = {b"flac": lambda: flac_bomb(Path()), b"long": lambda: wav(bytes(15_000_000))}
    return large[asked.content]() if asked.content in large else asked.content
