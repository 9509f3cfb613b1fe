"""A bundle is a trained model and nothing else: it answers as its run does, tells what it is, and notices damage."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commandline import Answer
from tasks import cases

import rnntrain
from rnntrain import commands
from rnntrain.bundling.bundle import make_bundle, movable
from rnntrain.config import check
from rnntrain.errors import UserError
from rnntrain.runs.record import accept
from rnntrain.runs.run import RunDir, open_run

Cli = Callable[..., Answer]
Refused = Callable[..., str]


def train(folder: Path, plain: dict[str, Any], **changes: Any) -> Path:
    limits = {"max_steps": 4, "eval_every_steps": 2, "log_every_steps": 2}
    config = {**plain, "trainer": limits, "run": {**plain["run"], "dir": str(folder)}, **changes}
    return commands.train(check(config), quiet=True).run.path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs of one classifier that differ in their seeds, with averaged weights."""
    folder = tmp_path_factory.mktemp("runs")
    plain = cases.classification(folder / "data").experiment.config.plain
    limits = {"max_steps": 4, "eval_every_steps": 2, "log_every_steps": 2, "average_decay": 0.5}
    return [train(folder / f"seed{seed}", plain, seed=seed, trainer=limits) for seed in (0, 1, 2)]


@pytest.fixture
def bundle(runs: list[Path], tmp_path: Path) -> Path:
    return make_bundle(runs, tmp_path / "bundle")


TEXTS = ["abc", "aab", "xyz", "", "q"]


def test_a_bundle_answers_as_its_run(runs: list[Path], bundle: Path) -> None:
    of_run, of_bundle = rnntrain.load(runs[0]), rnntrain.load(bundle)
    assert of_bundle.predict(TEXTS) == of_run.predict(TEXTS)
    weights = zip(of_run.model.parameters(), of_bundle.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
    assert of_bundle.step == of_run.step


@pytest.mark.parametrize("name", cases.TASKS)
def test_every_task_can_be_bundled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    case = cases.TASKS[name](tmp_path / "data")
    run = train(tmp_path / "run", case.experiment.config.plain)
    loaded = rnntrain.load(make_bundle([run], tmp_path / "bundle"))
    assert loaded.codec.state_dict() == case.experiment.data.codec.state_dict()
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    for heading in ("## Use", "## Data", "## Results", "## Limits", "## Reproduce"):
        assert heading in card
    assert str(tmp_path) not in card + (tmp_path / "bundle" / "config.yaml").read_text()


def test_a_bundle_needs_nothing_of_its_run(runs: list[Path], tmp_path: Path) -> None:
    """Neither the run's folder nor its data, from wherever it is copied to."""
    folder = tmp_path / "copies"
    run = shutil.copytree(runs[0], folder / "run")
    shutil.move(make_bundle([run], folder / "bundle"), tmp_path / "elsewhere")
    shutil.rmtree(folder)
    assert len(rnntrain.load(tmp_path / "elsewhere").predict(TEXTS)) == len(TEXTS)


def test_a_bundle_tells_nothing_of_the_machine(runs: list[Path], bundle: Path) -> None:
    import socket

    for file in bundle.rglob("*"):
        if file.is_file() and file.suffix != ".safetensors":
            text = file.read_text(encoding="utf-8")
            for private in (
                str(runs[0].parent),
                socket.gethostname() + '"',
                str(Path.home()) + "/",
                "working_directory",
            ):
                assert private not in text, (file, private)


def test_the_card_tells_seeds_baselines_and_how_to_repeat(bundle: Path) -> None:
    card = (bundle / "README.md").read_text(encoding="utf-8")
    assert "seeds 0, 1, 2: median and worst" in card
    assert "majority class" in card
    assert re.search(r"\| accuracy \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|", card)
    assert "licence is not known here" in card
    assert "even, none, odd" in card
    assert "## Reproduce\n\n```\n" in card


def test_the_licence_of_a_known_set_is_told() -> None:
    from rnntrain.bundling.card import _licence

    assert "Licence: public domain" in _licence("@tinyshakespeare/input.txt")
    for name in ("airpassengers", "sms", "japanese_ner", "digits"):
        assert "see its ORIGIN" not in _licence(f"@{name}/x")


def test_a_bundle_of_a_run_on_cuda_is_for_any_device(runs: list[Path]) -> None:
    plain = rnntrain.load(runs[0]).config.plain
    moved = movable({**plain, "device": {"kind": "cuda", "index": 3}, "kernels": "native", "threads": 9})
    assert (moved["device"], moved["kernels"], moved["threads"]) == ({"kind": "auto"}, "auto", "auto")


def test_a_run_on_cuda_is_loaded_without_one(runs: list[Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[0], tmp_path / "run")
    config = (run / "config.yaml").read_text()
    assert "kind: cpu" in config
    (run / "config.yaml").write_text(config.replace("kind: cpu", "kind: cuda\n  index: 5"))
    accept(RunDir(run))
    if not torch.cuda.is_available():
        assert rnntrain.load(run).predict(TEXTS) == rnntrain.load(runs[0]).predict(TEXTS)
    with pytest.raises(UserError, match="device=cuda:5"):
        rnntrain.load(run, "device=cuda:5")


# -- what a bundle refuses ---


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "summary.json", "checkpoints/best.json"])
def test_a_changed_file_is_noticed(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"damaged|changed"):
        rnntrain.load(bundle)


def test_changed_weights_are_noticed(bundle: Path) -> None:
    [weights] = bundle.rglob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged"):
        rnntrain.load(bundle)


@pytest.mark.parametrize("change", ["truncate", "newer", "outside", "other kind", "no file"])
def test_a_seal_that_is_none_is_refused(bundle: Path, change: str) -> None:
    from rnntrain.bundling.seal import SEAL
    from rnntrain.checkpoints import durable

    document = durable.unseal((bundle / SEAL).read_bytes(), SEAL)
    if change == "newer":
        document["format"] = 2
    elif change == "outside":
        document["files"]["../secret"] = {"bytes": 1, "sha256": "0"}
    elif change == "other kind":
        document["kind"] = "something"
    elif change == "no file":
        (bundle / "summary.json").unlink()
    data = durable.seal(document)
    (bundle / SEAL).write_bytes(data[:-20] if change == "truncate" else data)
    with pytest.raises(UserError, match="bundle"):
        rnntrain.load(bundle)


def test_the_card_may_be_edited(bundle: Path) -> None:
    (bundle / "README.md").write_text("mine")
    assert rnntrain.load(bundle).predict(["abc"])


def test_a_bundle_is_not_resumed(refused: Refused, bundle: Path) -> None:
    assert "resume the run it was made from" in refused("resume", bundle)


def test_runs_of_other_configs_are_refused(runs: list[Path], tmp_path: Path) -> None:
    config = rnntrain.load(runs[0]).config.plain
    other = train(tmp_path / "other", {**config, "model": {**config["model"], "hidden_size": 7}}, seed=5)
    with pytest.raises(UserError, match=r"differ in .*hidden_size"):
        make_bundle([runs[0], other], tmp_path / "bundle")
    with pytest.raises(UserError, match="seed 0 is among the runs twice"):
        make_bundle([runs[0], runs[0]], tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_run_without_a_checkpoint_is_refused(refused: Refused, runs: list[Path], workspace: Path) -> None:
    run = shutil.copytree(runs[0], workspace / "run")
    shutil.rmtree(run / "checkpoints")
    for verb in (["predict", run, "tiny.txt"], ["bundle", run], ["eval", run]):
        assert "holds no checkpoint" in refused(*verb)


# -- the verbs ---


def test_verbs_take_a_bundle(run_cli: Cli, runs: list[Path], workspace: Path) -> None:
    assert run_cli("bundle", runs[0], runs[1], "--out", "mine").out == "Bundle: mine\n"
    assert (workspace / "mine" / "README.md").is_file()
    (workspace / "new.txt").write_text("abc\nxyz\n")
    assert run_cli("predict", "mine", "new.txt").out == run_cli("predict", runs[0], "new.txt").out
    data = f"data.path={runs[0].parent / 'data' / 'texts.csv'}"
    of_run, of_bundle = (json.loads(run_cli("eval", path, "--json", data).out) for path in (runs[0], "mine"))
    assert of_run == of_bundle
    assert open_run(workspace / "mine").path == (workspace / "mine").resolve()


def test_a_bundle_does_not_replace_a_folder(refused: Refused, runs: list[Path], workspace: Path) -> None:
    (workspace / "there").mkdir()
    assert "--out there: exists" in refused("bundle", runs[0], "--out", "there")
    assert "there is no folder no" in refused("bundle", runs[0], "--out", "no/where")
    assert "nowhere" in refused("bundle", runs[0], "nowhere")


def test_loading_a_bundle_runs_no_code_of_its_own(
    bundle: Path, rnntrain_process: Callable[..., subprocess.Popen[str]], workspace: Path
) -> None:
    """Modules that lie in it are no part of it."""
    for name in ("torch", "numpy", "sitecustomize", "rnntrain_plugin"):
        (bundle / f"{name}.py").write_text("raise SystemExit('code of the bundle ran')\n")
    process = rnntrain_process("predict", bundle, workspace / "tiny.txt", "--format", "jsonl")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[0])["label"] in ("even", "odd", "none")
