"""Recordings: single files, folders of them, and manifests that name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rnntrain.data.speech.recordings import MANIFESTS, PATH_NAMES, choose, find_recordings, inside, manifest_lines
from rnntrain.data.speech.sound import SUFFIXES
from rnntrain.errors import UserError
from rnntrain.predicting.readers.items import Item, Reading, check_file


def read_sounds(path: str, reading: Reading) -> Iterator[Item]:
    """Yield the recordings of a file, a folder or a manifest; each is decoded only when it is its turn.

    Raises:
        UserError: names the file, or the line of the manifest.
    """
    place = Path(path).expanduser()
    if reading.labelled:
        yield from _labelled(place, reading)
        return
    if path == "-":
        raise UserError("-: a recording is read from a file; for raw samples use: rnntrain transcribe RUN --stream -")
    if place.is_dir():
        files = [file for file in sorted(place.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file()]
        if not files:
            raise UserError(f"{path}: the folder holds no sound ({', '.join(SUFFIXES)}); name another")
        yield from (Item(file, str(file), {"source": str(file)}) for file in files)
    elif place.suffix.lower() in MANIFESTS:
        yield from _of_manifest(place, reading)
    else:
        check_file(place, path)
        yield Item(place, path, {"source": path})


def _of_manifest(manifest: Path, reading: Reading) -> Iterator[Item]:
    column: str | None = None
    for where, values in manifest_lines(manifest):
        if column is None:
            column = choose("path_field", reading.column("path_field"), PATH_NAMES, list(values), str(manifest))
            reading.note(f"{manifest}: files in column {column!r}")
        file = inside(manifest.parent, values[column], where)
        yield Item(file, f"{where} ({file.name})", {"source": values[column]})


def _labelled(place: Path, reading: Reading) -> Iterator[Item]:
    recorded = reading.recorded
    pattern = recorded.get("pattern") if place.is_dir() else None
    path_field = None if place.is_dir() else reading.column("path_field")
    found = find_recordings(place, pattern, path_field, reading.column("text_field"), None)
    reading.note(f"{place}: {found.said}")
    for entry in found.entries:
        yield Item(entry.path, entry.name, {"source": entry.where}, entry.text)
