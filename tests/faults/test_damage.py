"""Of all that may happen to the bytes of a checkpoint, nothing goes unnoticed."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.runs import Cases, pairs
from rnntrain import commands
from rnntrain.checkpoints.checkpoint import CheckpointError, latest_valid, load_checkpoint, verify_checkpoint
from rnntrain.checkpoints.manifest import MANIFEST, STATE, TENSORS
from rnntrain.checkpoints.retention import BEST, read_best
from rnntrain.config import check
from rnntrain.errors import UserError
from rnntrain.runs.record import read_config_text
from rnntrain.runs.run import RunDir
from rnntrain.runs.verify import verify

FILES = (TENSORS, STATE, MANIFEST)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return checkpoints of real runs: a few tasks, each with a cell of another family."""
    folder = tmp_path_factory.mktemp("damaged")
    cases, found = Cases(folder / "cases"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        for number, (task, cell) in enumerate(pairs()[:3]):
            plain = cases.plain(task, cell, folder / f"run{number}", number, max_steps=4, eval_every_steps=2)
            found.append(commands.train(check(plain), quiet=True).run.checkpoints)
    return found


def damages(kind: str, number: int, checkpoint: Path) -> Iterator[Path]:
    """Yield a checkpoint after each damage; put it right after it."""
    draw = random.Random(f"{kind} {checkpoint}")
    tried, names = 0, itertools.cycle(FILES)
    while tried < number:
        path = checkpoint / next(names)
        data = path.read_bytes()
        damaged = bytearray(data)
        if kind == "flip":
            damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        elif kind == "cut":
            del damaged[draw.randrange(len(data)) :]
        elif kind == "zeros":  # a block that a disk never wrote
            start = draw.randrange(len(data))
            damaged[start : start + 512] = bytes(len(damaged[start : start + 512]))
        elif kind == "moved":  # a block that was written elsewhere
            start, size = draw.randrange(len(data)), draw.randrange(1, 512)
            damaged = damaged[:start] + damaged[start + size :] + damaged[start : start + size]
        if damaged == data:
            continue
        tried += 1
        path.write_bytes(damaged)
        yield path
        path.write_bytes(data)


TIERS = [pytest.param(60, id="few"), pytest.param(1000, id="many", marks=pytest.mark.slow)]


@pytest.mark.parametrize("number", TIERS)
@pytest.mark.parametrize("kind", ["flip", "cut", "zeros", "moved"])
def test_damage_is_noticed(checkpoints: list[Path], kind: str, number: int, report: Callable[..., None]) -> None:
    tried = silent = 0
    for folder in checkpoints:
        checkpoint = latest_valid(folder)
        for path in damages(kind, number // len(checkpoints) + 1, checkpoint):
            tried += 1
            for use in (load_checkpoint, verify_checkpoint):
                try:
                    use(checkpoint)
                    silent += 1
                except CheckpointError as error:
                    assert "\n" not in str(error), path  # noqa: PT017
        assert load_checkpoint(checkpoint)
    report("damage", name=kind, tried=tried, silent=silent)
    assert silent == 0
    assert tried >= number


@pytest.mark.parametrize("number", TIERS)
@pytest.mark.parametrize("name", ["config.yaml", "run.json"])
def test_flipped_bit_of_config_or_record_is_noticed(
    checkpoints: list[Path], number: int, name: str, report: Callable[..., None]
) -> None:
    """Also one that means nothing, as in a comment: the bytes are asked."""
    path, silent = checkpoints[0].parent / name, 0
    data, draw = path.read_bytes(), random.Random(name)
    for _ in range(number):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            read_config_text(RunDir(path.parent))
            silent += 1
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        silent += verify(path.parent).sound
    path.write_bytes(data)
    assert verify(path.parent).sound
    report("damage", name=name, tried=number, silent=silent)
    assert silent == 0


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_noticed(checkpoints: list[Path], tmp_path: Path, name: str) -> None:
    for number, folder in enumerate(checkpoints):
        copy = Path(shutil.copytree(latest_valid(folder), tmp_path / f"{number}"))
        (copy / name).unlink()
        with pytest.raises(CheckpointError, match=name):
            load_checkpoint(copy)


@pytest.mark.parametrize("name", FILES)
def test_swapped_file_is_noticed(checkpoints: list[Path], tmp_path: Path, name: str) -> None:
    """With that of another step of the same run, and that of another run."""
    for number, folder in enumerate(checkpoints):
        newest = latest_valid(folder)
        others = [path for path in folder.iterdir() if path.is_dir() and path != newest]
        others.append(latest_valid(checkpoints[(number + 1) % len(checkpoints)]))
        for other in others:
            place = tmp_path / f"{number} {other.parent.parent.name} {other.name}" / newest.name
            copy = Path(shutil.copytree(newest, place))
            shutil.copy(other / name, copy / name)
            with pytest.raises(CheckpointError):
                load_checkpoint(copy)


def test_damage_of_the_best_is_noticed(checkpoints: list[Path], report: Callable[..., None]) -> None:
    path = checkpoints[0] / BEST
    data, draw, silent = path.read_bytes(), random.Random(0), 0
    for _ in range(200):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged if draw.random() < 0.5 else damaged[: draw.randrange(len(data))])
        try:
            read_best(checkpoints[0])
            silent += 1
        except CheckpointError:
            pass
    path.write_bytes(data)
    report("damage", name="best.json", tried=200, silent=silent)
    assert silent == 0
