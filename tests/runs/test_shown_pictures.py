"""Pictures over time: few are kept however long a run trains, a resume draws none twice, and no training waits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnntrain.runs import shown_pictures
from rnntrain.runs.run import RunDir
from rnntrain.runs.shown_pictures import MOST_MOMENTS, drop_pictures_after, keep_picture, read_pictures

PICTURE = np.full((40, 60, 3), 255, np.uint8)


def steps(folder: Path, name: str = "confusion") -> list[int]:
    return [each.step for each in read_pictures(folder).get(name, [])]


def test_first_and_last_stay_and_those_between_lie_evenly(tmp_path: Path) -> None:
    for step in range(100, 10_100, 100):
        keep_picture(tmp_path, "confusion", step, PICTURE)
        assert steps(tmp_path)[0] == 100
        assert steps(tmp_path)[-1] == step
        assert len(steps(tmp_path)) == min(step // 100, MOST_MOMENTS)
    gaps = np.diff(steps(tmp_path))
    assert gaps.max() <= 3 * gaps.mean()


def test_each_title_has_moments_of_its_own_and_titles_are_few(tmp_path: Path) -> None:
    keep_picture(tmp_path, "forecasts of val", 5, PICTURE)
    for number in range(shown_pictures.MOST_TITLES + 5):
        keep_picture(tmp_path, f"picture {number}", 5, PICTURE)
    assert steps(tmp_path, "forecasts_of_val") == [5]
    assert len(read_pictures(tmp_path)) == shown_pictures.MOST_TITLES


@pytest.mark.parametrize("size", [(300, 400), (4000, 3000), (900, 90)])
def test_no_file_is_larger_than_the_limit_even_of_noise(tmp_path: Path, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    keep_picture(tmp_path, "noise", 1, noise)
    [kept] = read_pictures(tmp_path)["noise"]
    assert kept.path.stat().st_size <= shown_pictures.MOST_BYTES


def test_what_a_resume_draws_again_goes(tmp_path: Path) -> None:
    for step in (100, 200, 300):
        keep_picture(tmp_path, "confusion", step, PICTURE)
    drop_pictures_after(tmp_path, 200)
    assert steps(tmp_path) == [100, 200]
    drop_pictures_after(tmp_path, 200)
    keep_picture(tmp_path, "confusion", 200, PICTURE)
    assert steps(tmp_path) == [100, 200]


def test_what_is_no_file_of_ours_is_neither_read_nor_deleted(tmp_path: Path) -> None:
    folder, other = tmp_path / "run", tmp_path / "other.png"
    keep_picture(folder, "confusion", 900, PICTURE)
    other.write_bytes(b"of somebody else")
    (folder / "notes.txt").write_text("mine")
    (folder / "confusion.step-000000950.png").symlink_to(other)
    (folder / "confusion.step-000000960.png").mkdir()
    assert steps(folder) == [900]
    drop_pictures_after(folder, 0)
    assert {path.name for path in folder.iterdir()} == {
        "notes.txt",
        "confusion.step-000000950.png",
        "confusion.step-000000960.png",
    }
    assert other.exists()
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert read_pictures(link) == {}


def test_a_run_keeps_its_pictures_through_a_resume(run_cli, workspace: Path, monkeypatch) -> None:
    from commandline import TINY

    monkeypatch.setattr("rnntrain.watching.logger.FIRST_PICTURE_SECONDS", 0.0)
    monkeypatch.setattr("rnntrain.watching.logger.PICTURE_SECONDS", 0.0)
    assert run_cli("train", *TINY, "run.dir=run", "--quiet", "diagnose=gradients").code == 0
    folder = RunDir(workspace / "run").pictures_over_time
    assert steps(folder, "gradients_by_lag") == [2, 4]
    before = (folder / "gradients_by_lag.step-000000002.png").read_bytes()
    assert run_cli("resume", "run", "trainer.max_steps=6", "--quiet").code == 0
    assert steps(folder, "gradients_by_lag") == [2, 4, 6]
    assert (folder / "gradients_by_lag.step-000000002.png").read_bytes() == before


def test_a_short_run_draws_nothing_on_the_way(run_cli, workspace: Path) -> None:
    from commandline import TINY

    assert run_cli("train", *TINY, "run.dir=run", "--quiet", "diagnose=gradients").code == 0
    assert not RunDir(workspace / "run").pictures_over_time.exists()
    assert (workspace / "run" / "pictures" / "gradients_by_lag.png").exists()
