"""A wheel works anywhere: in a fresh environment, from another folder, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from commandline import REPOSITORY, TEXT, TINY

pytest.importorskip("build")
pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as `pip` and PyPI would."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a fresh environment that borrows our packages; return its `rnntrain`."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # These come after its own, and no .pth among them is read: an editable install of the checkout is not seen.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "rnntrain"


def run(command: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder, with nothing that leads to the checkout."""
    known = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    known["OMP_NUM_THREADS"] = "1"
    done = subprocess.run([str(command), *words], cwd=folder, env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_the_wheel_holds_the_configs_and_the_text_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {path.relative_to(REPOSITORY) for path in (REPOSITORY / "configs").rglob("*.yaml")}
    assert {f"rnntrain/{path}" for path in shipped} <= names
    assert "rnntrain/data/shakespeare.txt.bz2" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"rnntrain"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_installed_command_lists_and_trains_from_any_folder(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, tmp_path, "info").stdout
    assert "Shakespeare" in listed
    assert "rnntrain (not installed)" not in listed
    (tmp_path / "tiny.txt").write_text(TEXT)
    run(installed, tmp_path, "train", *TINY, "debug=fast", "run.dir=run")
    assert '"step": 4' in (tmp_path / "run/summary.json").read_text()
    assert str(REPOSITORY) not in (tmp_path / "run/run.json").read_text()


def test_the_installed_command_is_the_one_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    python = installed.with_name("python")
    program = "import rnntrain.configuring.config_files as c; print(c.__file__, c.package_config_dir())"
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(python), "-c", program], cwd=tmp_path, env=known, capture_output=True, text=True)
    assert all(str(installed.parent.parent) in path for path in done.stdout.split())
    assert len(done.stdout.split()) == 2


def test_the_installed_command_trains_on_the_text_that_comes_with_it(installed: Path, tmp_path: Path) -> None:
    words = ("debug=fast", "model.hidden_size=8", "data.batch_size=4", "data.bptt=8", "task.sample_length=0")
    done = run(installed, tmp_path, "train", *words, "device=cpu")
    assert "37 documents" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}
