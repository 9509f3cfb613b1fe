"""Vectors that a model has learnt, as the files that TensorBoard's projector reads."""

# N vectors, D numbers of each

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

MOST_VECTORS = 10_000  # the first ones: more make the projector slow
CONFIG = "projector_config.pbtxt"


def write_embeddings(folder: Path, embeddings: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> list[Path]:
    """Write names and vectors ``[N, D]`` by title below a folder of TensorBoard's; return the files of the vectors."""
    entries, written = [], []
    for title, (names, vectors_ND) in embeddings.items():
        name = re.sub("[^a-z0-9]+", "_", title.lower())
        place = folder / "projector" / name
        place.mkdir(parents=True, exist_ok=True)
        np.savetxt(place / "vectors.tsv", vectors_ND[:MOST_VECTORS], fmt="%.6g", delimiter="\t")
        shown = [_one_cell(each) for each in names[:MOST_VECTORS]]
        (place / "names.tsv").write_text("".join(f"{each}\n" for each in shown), encoding="utf-8", errors="replace")
        written.append(place / "vectors.tsv")
        entries.append(
            "embeddings {\n"
            f'  tensor_name: "{name}"\n'
            f'  tensor_path: "projector/{name}/vectors.tsv"\n'
            f'  metadata_path: "projector/{name}/names.tsv"\n'
            "}\n"
        )
    if entries:
        (folder / CONFIG).write_text("".join(entries), encoding="utf-8")
    return written


def _one_cell(name: str) -> str:
    """Return a name that is one cell of a table and can be seen: white space and signs of control are spelt out."""
    visible = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    return visible.replace(" ", "␣") if not visible.strip() else visible
