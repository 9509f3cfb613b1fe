"""No config, override, checkpoint, run folder or data file runs code, writes elsewhere, hangs or fills the memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TEXT, listing

from faults.hostile import CONFIGS
from faults.hostile_data import DATA
from faults.nursery import Ended, Nursery
from faults.tiers import tiers

SECRET = "a-secret-of-the-environment"
MOST_MEGABYTES = 500.0
# What may run, since what is hostile in it is passed over.
HARMLESS = {
    "hydra: sweep folder",
    "hydra: run folder",
    "hydra: output folder",
    "sizes: bptt",
    "text: zero bytes",
}


def attacked(
    nursery: Nursery,
    tmp_path: Path,
    case: Callable[[Path, Path], list[str]],
    *,
    patience: float,
    call: Callable[..., Ended] | None = None,
) -> Ended:
    """Run a case and check that nothing was executed, sent or written outside; return how it ended.

    Args:
        call: what is called with the words of the case; `rnntrain` where None.
    """
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    (work / "tiny.txt").write_text(TEXT, encoding="utf-8")
    words = case(work, outside)
    before = contents(outside)
    environment = {"SECRET": SECRET, "HOME": str(outside)}
    ended = (call or nursery.cli)(*words, cwd=str(work), env=environment, audit=True, limit=patience)
    assert contents(outside) == before, ended
    assert [event for event in ended.events if "/dev/null" not in event] == [], ended
    assert SECRET not in ended.out + ended.err
    return ended


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def check_refused(ended: Ended) -> None:
    assert ended.code == 2, ended
    assert ended.err.startswith("rnntrain: error: "), ended
    assert ended.err.count("\n") == 1, ended
    assert all(sign.isprintable() or sign == "\n" for sign in ended.err), ended
    assert ended.out == "", ended


@pytest.mark.parametrize("name", tiers([*CONFIGS, *DATA], 4))
def test_hostile_input_is_refused(nursery: Nursery, tmp_path: Path, report: Callable[..., None], name: str) -> None:
    """In one line, in little time and memory; nothing is created."""
    case = {**CONFIGS, **DATA}[name]
    ended = attacked(nursery, tmp_path, case, patience=60.0)
    report("hostile", name=name, code=ended.code, seconds=ended.seconds, megabytes=ended.peak_megabytes)
    assert ended.peak_megabytes < MOST_MEGABYTES, ended
    if name in HARMLESS:
        assert ended.code == 0, ended
        return
    check_refused(ended)
    assert not (tmp_path / "work/outputs").is_dir() or not list((tmp_path / "work/outputs").rglob("*.yaml"))


def test_the_canary_sings(nursery: Nursery, tmp_path: Path) -> None:
    """What these tests look for would be seen: a plugin that the user names is run."""

    def case(folder: Path, outside: Path) -> list[str]:
        (folder / "mine.py").write_text(f"import os\nopen({str(outside / 'executed')!r}, 'w')\nos.system('true')\n")
        return ["check", "plugins=[mine]", "data=text", "data.path=tiny.txt"]

    with pytest.raises(AssertionError, match="executed"):
        attacked(nursery, tmp_path, case, patience=60.0)


def test_events_are_seen(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import os, pickle\nos.system('true')\npickle.loads(pickle.dumps(os.system))\n")
    ended = nursery.cli("check", "plugins=[mine]", "data=shakespeare", cwd=str(tmp_path), audit=True)
    assert {event.split()[0] for event in ended.events} == {"os.system", "pickle.find_class"}


def test_a_command_that_is_refused_leaves_nothing(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "tiny.txt").write_text(TEXT, encoding="utf-8")
    before = listing(tmp_path)
    check_refused(nursery.cli("train", "data=text", "data.path=tiny.txt", "run.name=../x", cwd=str(tmp_path)))
    assert listing(tmp_path) == before
