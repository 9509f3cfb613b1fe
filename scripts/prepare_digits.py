"""Build `rnntrain/data/shipped/digits/digits.npz` from the images that PyPI's `scikit-learn` ships.

The wheel is read as a zip file; nothing in it is imported or run. What the result holds, and under which licence,
stands in `ORIGIN.md` beside it.
"""

from __future__ import annotations

import argparse
import gzip
import io
import tempfile
from pathlib import Path

import numpy as np
from wheel_files import download, read_member, write_npz

PACKAGE = "scikit-learn==1.9.1"
MEMBER = "sklearn/datasets/data/digits.csv.gz"
MEMBER_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
OUTPUT = Path(__file__).parents[1] / "rnntrain" / "data" / "shipped" / "digits" / "digits.npz"
SHARES = {"test": 0.2, "val": 0.1}  # of every digit; the rest is for training
SEED = 0


def read_digits(wheel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images ``[N, 64]`` of 0 to 16, row by row, and the digits ``[N]`` that they show."""
    packed = read_member(wheel, MEMBER, MEMBER_SHA256, PACKAGE)
    table = np.loadtxt(io.StringIO(gzip.decompress(packed).decode("ascii")), delimiter=",", dtype=np.uint8)
    return table[:, :64], table[:, 64]


def split(digits: np.ndarray) -> dict[str, np.ndarray]:
    """Return the image numbers of each split, with equal shares of each digit, in their old order."""
    rng = np.random.default_rng(SEED)
    numbers: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for digit in range(10):
        left = rng.permutation(np.flatnonzero(digits == digit))
        total = len(left)
        for name, share in SHARES.items():
            numbers[name].extend(left[: round(share * total)].tolist())
            left = left[round(share * total) :]
        numbers["train"].extend(left.tolist())
    return {name: np.sort(np.array(chosen)) for name, chosen in numbers.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}; without it, pip downloads it")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where to write; without it, into the package")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images, digits = read_digits(arguments.wheel or download(PACKAGE, Path(folder)))
    arrays = {}
    for name, numbers in split(digits).items():
        arrays |= {f"x_{name}": images[numbers], f"y_{name}": digits[numbers]}
        print(f"{name}: {len(numbers):,} images, {np.bincount(digits[numbers]).tolist()} of each digit")
    print(f"SHA-256: {write_npz(arguments.output, arrays)}")


if __name__ == "__main__":
    main()
