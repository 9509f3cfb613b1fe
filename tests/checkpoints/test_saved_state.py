"""What a checkpoint from elsewhere says is checked against what a trainer writes."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tasks.cases import TASKS
from training import CELLS, make_config, write_text

from rnntrain.build import build
from rnntrain.checkpoints.saved_state import check_weights, codec_in, restore, step_in
from rnntrain.errors import UserError
from rnntrain.watching.recorder import checkpoint_tree


@pytest.mark.parametrize("name", TASKS)
def test_every_codec_is_read_back(tmp_path: Path, name: str) -> None:
    """Its size is that of the weights beside it."""
    experiment = TASKS[name](tmp_path).experiment
    codec = codec_in(checkpoint_tree(experiment.trainer), experiment.task)
    assert codec.state_dict() == experiment.data.codec.state_dict()


@pytest.mark.parametrize("cell", CELLS)
def test_weights_of_another_form_are_refused_before_they_take_memory(tmp_path: Path, cell: str) -> None:
    """The forms are told by a model on no device, which every cell must allow."""
    experiment = build(make_config(write_text(tmp_path), cell=cell))
    config, task, codec = experiment.config, experiment.task, experiment.data.codec
    weights = experiment.model.state_dict()
    check_weights(config, task, codec, {"trainer": {"model": weights}})
    name, weight = next(iter(weights.items()))
    others = {"another shape": weight[None], "another kind": weight.double(), "no size": weight.new_zeros(0, 1 << 40)}
    for other in others.values():
        with pytest.raises(UserError, match=rf"does not fit its config: {re.escape(name)} is .* and should be"):
            check_weights(config, task, codec, {"trainer": {"model": {**weights, name: other}}})
    for wrong in ({}, {**weights, "evil": weight}, 3):
        with pytest.raises(UserError, match="does not fit its config"):
            check_weights(config, task, codec, {"trainer": {"model": wrong}})


@pytest.fixture
def experiment(tmp_path: Path) -> Any:
    return build(make_config(write_text(tmp_path)))


@pytest.mark.parametrize("codec", [None, [], "x", {}, {"unit": 3}, {"unit": "char", "characters": "ba"}], ids=str)
def test_codec_of_another_kind_is_refused(experiment: Any, codec: Any) -> None:
    tree = {**checkpoint_tree(experiment.trainer), "codec": codec}
    with pytest.raises(UserError, match="use another checkpoint"):
        codec_in(tree, experiment.task)
    del tree["codec"]
    with pytest.raises(UserError, match="use another checkpoint"):
        codec_in(tree, experiment.task)


def test_codec_larger_than_its_weights_is_refused(experiment: Any) -> None:
    tree = checkpoint_tree(experiment.trainer)
    tree["codec"] = {"unit": "char", "characters": "".join(map(chr, range(32, 50_000)))}
    with pytest.raises(UserError, match="vocab_size is 49,969, and the largest weight"):
        codec_in(tree, experiment.task)


@pytest.mark.parametrize("step", [None, "4", -1, 1.0, True, 10**18])
def test_step_that_is_none_is_refused(step: Any) -> None:
    with pytest.raises(UserError, match="the checkpoint's step is"):
        step_in({"trainer": {"step": step}})
    assert step_in({"trainer": {"step": 4}}) == 4


@pytest.mark.parametrize(
    ("key", "value"),
    [("step", "4"), ("epoch", -1), ("offset", 10**30), ("units_seen", 1.5), ("seconds", "x"), ("seconds", float("nan")),
     ("evaluated_at", None), ("best", {"evil": 1}), ("schedule", [1]), ("model", {}), ("optimizer", {})],
)  # fmt: skip
def test_trainer_state_of_another_kind_is_refused(experiment: Any, key: str, value: Any) -> None:
    tree = checkpoint_tree(experiment.trainer)
    tree["trainer"] = {**tree["trainer"], key: value}
    with pytest.raises(UserError, match=r"here: does not fit the run's config"):
        restore(experiment, tree, Path("here"))


@pytest.mark.parametrize(("name", "value"), [("lr", "x"), ("betas", 1.0), ("amsgrad", True), ("eps", None)])
def test_optimizer_settings_of_another_kind_are_refused(experiment: Any, name: str, value: Any) -> None:
    tree = copy.deepcopy(checkpoint_tree(experiment.trainer))
    tree["trainer"]["optimizer"]["param_groups"][0][name] = value
    with pytest.raises(UserError, match=f"{name} of the optimizer"):
        restore(experiment, tree, Path("here"))


def test_what_a_trainer_writes_is_restored(experiment: Any) -> None:
    experiment.trainer.train_step()
    tree = copy.deepcopy(checkpoint_tree(experiment.trainer))
    experiment.trainer.train_step()
    assert restore(experiment, tree, Path("here")) == []
    for name, weight in experiment.model.state_dict().items():
        assert torch.equal(weight, tree["trainer"]["model"][name])
