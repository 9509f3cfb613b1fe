"""Kernels are built by a verb, once; training takes them where they are, and a run keeps the path it began with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from training import differences, make_config, make_experiment, write_text

from rnntrain import commands
from rnntrain.errors import UserError
from rnntrain.native import library
from rnntrain.native.command import build_lines
from rnntrain.runs.record import read_start
from rnntrain.runs.run import open_run


@pytest.fixture
def _no_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# -- without kernels ---


@pytest.mark.usefixtures("_no_kernels")
def test_auto_is_plain_and_compiles_nothing(tmp_path: Path) -> None:
    library.choose("auto")
    assert library.chosen() == "plain"
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("_no_kernels")
def test_native_by_name_is_refused_with_the_verb_that_builds() -> None:
    with pytest.raises(UserError, match=r"kernels=native: not built yet; run `rnntrain build`, or set kernels=auto"):
        library.choose("native")


@pytest.mark.usefixtures("_no_kernels")
@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("no-such-compiler", "no-such-compiler: no such compiler; install"), (f"{sys.executable} -c 1/0 #", "division")],
    ids=["missing", "failing"],
)
def test_compiler_that_fails_is_one_line(compiler: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(UserError, match=reason) as caught:
        build_lines()
    assert "\n" not in str(caught.value)
    assert "training works without" in str(caught.value)
    assert not library.library_path().exists()


@pytest.mark.usefixtures("_no_kernels")
def test_compiler_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "OPTIONAL_FLAGS", ((),))
    monkeypatch.setattr(library, "TIMEOUT_SECONDS", 0.1)
    monkeypatch.setenv("CXX", f"{sys.executable} -c 'while True: pass' #")
    with pytest.raises(UserError, match=r"not done after 0\.1 seconds; training works without"):
        build_lines()
    assert not library.library_path().exists()


@pytest.mark.usefixtures("_no_kernels")
def test_library_that_does_not_load_is_not_taken() -> None:
    path = library.library_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no library")
    library.choose("auto")
    assert library.chosen() == "plain"
    with pytest.raises(UserError, match="rnntrain build --again"):
        library.choose("native")


def test_another_source_or_processor_is_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    library._key.cache_clear()
    key = library._key()
    monkeypatch.setattr(library, "_processor_features", lambda: "another")
    library._key.cache_clear()
    assert library._key() != key
    library._key.cache_clear()


# -- with kernels ---


@pytest.mark.usefixtures("_native")
def test_build_is_done_once() -> None:
    written = library.library_path().stat().st_mtime_ns
    assert build_lines()[0].startswith("The kernels are built: ")
    assert library.library_path().stat().st_mtime_ns == written


@pytest.mark.usefixtures("_native")
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_resume_through_the_kernels_is_exact(tmp_path: Path, cell: str) -> None:
    text = write_text(tmp_path)
    whole = make_experiment(text, {"kernels": "native"}, cell=cell)
    assert whole.kernels == "native"
    whole.trainer.fit()
    first = make_experiment(text, {"kernels": "native"}, cell=cell).trainer
    first.fit(lambda: "SIGTERM" if first.step == 7 else None)
    second = make_experiment(text, {"kernels": "native"}, cell=cell).trainer
    second.load_state_dict(first.state_dict())
    second.fit()
    states = [{k: v for k, v in t.state_dict().items() if k != "seconds"} for t in (whole.trainer, second)]
    assert differences(*states) == []


@pytest.mark.usefixtures("_native")
def test_run_keeps_the_path_it_began_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = write_text(tmp_path), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert commands.train(make_config(path, {"run.dir": str(run)}), quiet=True).experiment.kernels == "plain"
    assert read_start(open_run(run))["environment"]["kernels"] == "plain"
    # Built meanwhile:
    assert commands.resume(run, ["trainer.max_steps=24"], quiet=True).experiment.kernels == "plain"
    assert capsys.readouterr().err == ""
    # … unless told otherwise, and then it says so.
    assert commands.resume(run, ["trainer.max_steps=28", "kernels=native"], quiet=True).experiment.kernels == "native"
    assert "kernels was plain and is native" in capsys.readouterr().err


@pytest.mark.usefixtures("_native")
def test_run_whose_kernels_are_gone_goes_on_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, run = write_text(tmp_path), tmp_path / "run"
    assert commands.train(make_config(path, {"run.dir": str(run)}), quiet=True).experiment.kernels == "native"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert commands.resume(run, ["trainer.max_steps=24"], quiet=True).experiment.kernels == "plain"
    assert "kernels was native and is plain" in capsys.readouterr().err
