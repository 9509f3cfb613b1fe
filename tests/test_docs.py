"""Every command in the guides runs, in the order in which a reader meets it, in one folder a page.

What is in a ```bash or ```python block of docs/*.md is run as it stands, with two exceptions that a comment just before
the block can ask for:

- `<!-- in tests with: key=value … -->` adds overrides to each `rnntrain train` or `sweep` of the block, so that it
  takes seconds;
- `<!-- not in tests: REASON -->` leaves it out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from commandline import REPOSITORY, environment

from rnntrain.configuring.config_files import choices
from rnntrain.verbs import VERBS

PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
_BLOCK = re.compile(
    r"(?:<!-- (?P<ask>in tests with|not in tests): (?P<what>[^>]*?) -->\s*)?"
    r"^```(?P<language>bash|python)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
# What `rnntrain` and `python` are while a page runs: `train` and `sweep` get the block's own overrides. A program, so
# that a page may start it in the background and stop it by its number.
_PROGRAM = """\
#!/bin/bash
case "$1" in train | sweep) set -- "$@" $IN_TESTS_WITH ;; esac
exec "{python}" -m rnntrain "$@"
"""


class Block(NamedTuple):
    """A block that runs, with the overrides that make it short."""

    language: str
    text: str
    overrides: str


def blocks_of(page: Path) -> list[Block]:
    """Return what of a page is run."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [
        Block(block["language"], block["text"], (block["what"] or "") if block["ask"] == "in tests with" else "")
        for block in found
        if block["ask"] != "not in tests"
    ]


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in PAGES])
def test_every_command_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    variables = {name: value for name, value in environment().items() if name != "RNNTRAIN_DATA"}
    variables |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache"), "COLUMNS": "120"}
    programs = tmp_path / ".programs"
    programs.mkdir()
    (programs / "rnntrain").write_text(_PROGRAM.format(python=sys.executable), encoding="utf-8")
    (programs / "rnntrain").chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    variables["PATH"] = f"{programs}:{variables['PATH']}"
    for block in blocks_of(page):
        variables["IN_TESTS_WITH"] = block.overrides
        shell = ["bash", "-eo", "pipefail", "-c", block.text]
        command = shell if block.language == "bash" else [sys.executable, "-c", block.text]
        ended = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, (
            f"{page.name}:\n{block.text}\n{ended.stdout[-2000:]}{os.linesep}{ended.stderr[-2000:]}"
        )


def test_generated_pages_say_what_the_code_says() -> None:
    command = [sys.executable, "scripts/make_reference.py", "--check"]
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


READMES = [REPOSITORY / name for name in ("README.md", "README.zh.md")]
WRITTEN = [*READMES, *PAGES, *(REPOSITORY / name for name in ("ARCHITECTURE.md", "BENCHMARKS.md", "SECURITY.md"))]


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in WRITTEN])
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in READMES])
def test_what_a_readme_tells_to_type_is_there(page: Path) -> None:
    """Verbs, experiments, cells, scripts: what is renamed must be renamed here too."""
    text = page.read_text(encoding="utf-8")
    verbs = set(re.findall(r"rnntrain (?:-m )?([a-z]{3,})\b(?=[^\n]*)", "\n".join(re.findall(r"`+([^`]+)`+", text))))
    assert verbs - {"run", "config", "error"} <= set(VERBS)
    assert set(re.findall(r"experiment=(\w+)", text)) - {"NAME"} <= set(choices("experiment"))
    assert set(re.findall(r"model/cell=([a-z_]+)", text)) <= set(choices("model/cell"))
    assert [name for name in re.findall(r"scripts/\w+\.\w+", text) if not (REPOSITORY / name).is_file()] == []


def test_both_readmes_give_the_same_commands() -> None:
    """A line of a block of the translation is a line of the original, whatever its comment says."""
    english, chinese = (
        {line.partition("  #")[0].strip() for block in blocks_of(page) for line in block.text.splitlines() if line}
        for page in READMES
    )
    assert chinese <= english
