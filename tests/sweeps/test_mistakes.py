"""Each mistake in what is searched, and how, is one line before the first run, and nothing is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import TINY, Answer, write_configs

from sweeps.conftest import QUICK

Cli = Callable[..., Answer]
Refused = Callable[..., str]
LR = "optimizer.lr=interval(1e-4,1e-2,log)"

MISTAKES = {
    "no space": ("sweep.trials=3", ["nothing is searched", "interval(1e-4,1e-2,log)", "sweep=NAME", "tpe"]),
    "no such file": ("sweep=tpee", ["sweep=tpee", "did you mean tpe?", "sweep.name"]),
    "unknown setting": (f"{LR} sweep.trails=3", ["sweep.trails", "did you mean trials?"]),
    "unknown sampler": (f"{LR} sweep.sampler=cmaes", ["sweep.sampler=cmaes", "random or tpe or gp"]),
    "no trials": (f"{LR} sweep.trials=0", ["sweep.trials=0", "at least 1"]),
    "end before the start": ("optimizer.lr=interval(1,0)", ["optimizer.lr=interval(1,0)", "the lower end comes first"]),
    "a key of no config": ("optimiser.lr=interval(0,1)", ["optimiser.lr", "did you mean optimizer?"]),
    "a choice of no group": ("model/cell=choice(gru,lsmt)", ["model/cell=lsmt", "did you mean lstm?"]),
    "grid of an interval": (f"{LR} sweep.sampler=grid", [LR, "a grid needs single values"]),
    "pruning with several metrics": (
        f"{LR} sweep.metric=[val/loss,num_parameters] sweep.pruner=median",
        ["sweep.pruner=median", "there are several", "sweep.pruner=none"],
    ),
    "nsga2 with one metric": (f"{LR} sweep.sampler=nsga2", ["sweep.sampler=nsga2", "sweep.metric=[val/loss,"]),
    "no metric": (f"{LR} sweep.metric=[]", ["sweep.metric=[]", "name at least one"]),
    "unknown metric": (
        f"{LR} sweep.metric=val/los",
        ["sweep.metric=val/los", "did you mean val/loss?", "num_parameters"],
    ),
    "pruning by what only the end reports": (
        f"{LR} sweep.metric=num_parameters sweep.pruner=median",
        ["sweep.metric=num_parameters", "no evaluation during training", "val/loss, val/accuracy"],
    ),
    "choosing on test": (f"{LR} sweep.metric=test/loss", ["sweep.metric=test/loss", "choose on val/"]),
    "a metric twice": (f"{LR} sweep.metric=[val/loss,val/loss]", ["each metric once"]),
    "a direction too few": (
        f"{LR} sweep.metric=[val/loss,val/accuracy] sweep.direction=minimize",
        ["sweep.direction", "one is needed for each of val/loss, val/accuracy"],
    ),
    "name of a run": (f"{LR} run.name=x", ["run.name=x", "set sweep.name"]),
    "name of a folder": (f"{LR} sweep.name=a/b", ["sweep.name='a/b'", "A-Z a-z 0-9"]),
    "seeds of text": (f"{LR} seed=a,b", ["seed=a,b", "whole numbers"]),
    "a seed twice": (f"{LR} sweep.seeds=[1,1]", ["sweep.seeds=[1, 1]", "each once"]),
    "storage that is no URL": (f"{LR} sweep.storage=study.db", ["sweep.storage=study.db", "sqlite:///FILE"]),
    "storage of no database": (
        f"{LR} sweep.storage=sqlit:///study.db",
        ["sweep.storage=sqlit:///study.db", "sqlite:///FILE", "postgresql://"],
    ),
    "a bracket that stays open": ("optimizer.lr=interval(1e-4,1e-2", ["interval(1e-4,1e-2:", "does not close"]),
    "a list in place of several values": (
        "model.hidden_size=[8,16]",
        ["nothing is searched", "is one value, a list", "several are model.hidden_size=8,16"],
    ),
    "several values of a setting": (
        f"{LR} sweep.metric=val/loss,num_parameters",
        ["sweep.metric=val/loss,num_parameters", "a list is sweep.metric=[val/loss,num_parameters]"],
    ),
    "a setting without its section": (f"{LR} trials=3", ["trials=3", "write sweep.trials=3"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_before_the_first_run(mistake: str, refused: Refused, fakes: None) -> None:
    words, parts = MISTAKES[mistake]
    line = refused("sweep", *(QUICK if mistake != "name of a folder" else []), *words.split(" "))
    for part in parts:
        assert part in line


def test_a_study_with_another_space_is_not_gone_on_with(sweep: Cli, workspace: Path) -> None:
    assert sweep(LR, "sweep.trials=1").code == 0
    others = {
        "optimizer.lr=interval(1e-4,1,log)": "space of optimizer.lr was interval(1e-4,1e-2,log) and is",
        f"{LR} model.hidden_size=64": "model.hidden_size was",
        f"{LR} sweep.sampler=random": "sweep.sampler was tpe and is random",
        f"{LR} sweep.seeds=2": "seeds was [0] and is [0, 1]",
    }
    for words, text in others.items():
        answer = sweep(*words.split(" "))
        assert answer.code == 2
        assert text in answer.err
        assert "set another sweep.name" in answer.err
    assert sweep(LR, "sweep.trials=2", "sweep.workers=1", "device=cpu").code == 0


def test_a_storage_out_of_reach_is_one_line(sweep: Cli, workspace: Path) -> None:
    answer = sweep(LR, "sweep.storage=sqlite:////nowhere/study.db")
    assert answer.code == 2
    assert answer.err.startswith("rnntrain: error: sweep.storage=sqlite:////nowhere/study.db: cannot be used: ")
    assert "unable to open database file" in answer.err
    assert answer.err.count("\n") == 1


def test_a_storage_without_its_driver_says_what_to_install_and_no_password(
    refused: Refused, fakes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    line = refused("sweep", *QUICK, LR, "sweep.storage='mysql://me:secret@host/studies'")
    assert line == ("sweep.storage=mysql://me:***@host/studies: needs a driver; install it: pip install mysqlclient")


def test_a_locked_storage_is_one_line(sweep: Cli, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    from rnntrain.sweeps import storage

    monkeypatch.setattr(storage, "SQLITE_TIMEOUT_SECONDS", 0.1)
    words = [LR, "sweep.storage=sqlite:///study.db", "sweep.trials=2"]
    assert sweep(*words, "sweep.trials=1").code == 0
    connection = sqlite3.connect(workspace / "study.db")
    connection.execute("begin exclusive")
    answer = sweep(*words)
    connection.close()
    assert answer.code == 2
    assert "database is locked" in answer.err
    assert answer.err.splitlines()[-1].startswith("rnntrain: error: sweep.storage=sqlite:///study.db")


def test_without_optuna_the_line_to_install_it_is_given(
    refused: Refused, fakes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert refused("sweep", *QUICK, LR) == "sweep: needs Optuna; install it: pip install 'rnntrain[sweep]'"


def test_a_key_that_is_wrong_is_found_by_looking_at_every_corner(refused: Refused) -> None:
    line = refused("sweep", *TINY, "model.hidden_size=choice(8,0)", "sweep.name=mine")
    assert line == "model.hidden_size=0: expected a whole number at least 1"


def test_pruning_needs_evaluations_to_prune_at(refused: Refused) -> None:
    line = refused("sweep", *TINY, LR, "sweep.pruner=median", "trainer.eval_every_steps=4", "sweep.name=mine")
    assert "a run is evaluated 1 time" in line
    assert "trainer.eval_every_steps" in line


FILES = {
    "unknown key": ("sampler: tpe\nspaces: {}", "sweep.spaces: no such key (did you mean space?)"),
    "space of text": ("space: lr", "sweep.space=lr: expected lines such as optimizer.lr: interval"),
    "space of a value": ("space:\n  optimizer.lr: 0.1", "sweep.space: optimizer.lr=0.1: spans nothing"),
}


@pytest.mark.parametrize("file", FILES)
def test_a_mistake_in_a_file_is_one_line(file: str, workspace: Path, refused: Refused) -> None:
    text, expected = FILES[file]
    write_configs(workspace / "conf", {"sweep/own": text})
    assert expected in refused("sweep", "--config-dir", workspace / "conf", "sweep=own")


def test_train_says_where_searches_are_started(refused: Refused) -> None:
    assert "rnntrain sweep sweep=tpe" in refused("train", "sweep=tpe")
