"""Build `rnntrain/data/shipped/japanese_vowels/japanese_vowels.npz` from the files that PyPI's `aeon` ships.

The wheel is read as a zip file; nothing in it is imported or run. What the result holds, and under which licence,
stands in `ORIGIN.md` beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from wheel_files import download, read_member, write_npz

PACKAGE = "aeon==1.6.0"
FOLDER = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_"
MEMBERS = {
    "train": ("TRAIN.ts", "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"),
    "test": ("TEST.ts", "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462"),
}
FEATURES = 12
OUTPUT = Path(__file__).parents[1] / "rnntrain" / "data" / "shipped" / "japanese_vowels" / "japanese_vowels.npz"


def read_split(text: str) -> tuple[list[np.ndarray], list[int]]:
    """Return the sequences ``[T, 12]`` and the speakers, 1 to 9, of one file.

    A line holds the series of one feature after the other, and the speaker, with colons between them.
    """
    sequences, speakers = [], []
    lines = text.splitlines()
    for line in lines[lines.index("@data") + 1 :]:
        *series, speaker = line.split(":")
        if len(series) != FEATURES or len({part.count(",") for part in series}) != 1:
            raise ValueError(f"sequence {len(speakers)}: not {FEATURES} series of one length")
        sequences.append(np.array([part.split(",") for part in series], np.float32).T)
        speakers.append(int(speaker))
    return sequences, speakers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}; without it, pip downloads it")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where to write; without it, into the package")
    arguments = parser.parse_args()
    arrays: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        wheel = arguments.wheel or download(PACKAGE, Path(folder))
        for split, (member, sha256) in MEMBERS.items():
            content = read_member(wheel, FOLDER + member, sha256, PACKAGE)
            sequences, speakers = read_split(content.decode("utf-8"))
            arrays[f"x_{split}"] = np.concatenate(sequences)
            arrays[f"lengths_{split}"] = np.array([len(x) for x in sequences], np.uint8)
            arrays[f"y_{split}"] = np.array(speakers, np.uint8)
            print(f"{split}: {len(speakers)} sequences, {np.bincount(speakers)[1:].tolist()} of each speaker")
    print(f"SHA-256: {write_npz(arguments.output, arrays)}")


if __name__ == "__main__":
    main()
