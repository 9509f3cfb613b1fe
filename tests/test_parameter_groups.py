"""What decays, at which rate each kind of parameter learns, and which parameter is of which kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from training import differences, make_experiment, write_text

from rnntrain.build import Experiment
from rnntrain.cells.cornn import CoRNN
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.mingru import MinGRU
from rnntrain.cells.skip import Skip
from rnntrain.cells.weight_drop import WeightDrop
from rnntrain.config import check, compose
from rnntrain.errors import UserError
from rnntrain.info import info_lines
from rnntrain.models.sequence import SequenceModel
from rnntrain.models.vocabulary import VocabularyHead
from rnntrain.parameter_groups import parameter_groups, parameter_kinds
from rnntrain.settings import ByKind, GroupSettings


def make_model() -> SequenceModel:
    return SequenceModel(
        input_layer=lambda size: nn.Embedding(7, size),
        head=lambda size: VocabularyHead(size, 7),
        cell=LSTM,
        hidden_size=4,
        num_layers=2,
        norm=True,
    )


def test_only_matrices_decay() -> None:
    model = make_model()
    decaying, others = parameter_groups(model, 0.3)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decay = {names[id(parameter)] for parameter in decaying["params"]}
    kept = {names[id(parameter)] for parameter in others["params"]}
    assert decay | kept == set(names.values())
    assert not decay & kept
    assert all("bias" in name or "norms" in name for name in kept)
    assert not any("bias" in name or "norms" in name for name in decay)


def test_decay_shrinks_matrices_alone() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(parameter_groups(model, 0.5), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 0.95 if parameter.dim() >= 2 else 1.0
        torch.testing.assert_close(parameter.detach(), factor * before[name])


def test_frozen_and_tied_parameters_are_in_no_group_twice() -> None:
    model = make_model()
    model.head.tie(model.input)
    model.backbone.layers[0].requires_grad_(False)
    grouped = [parameter for group in parameter_groups(model, 0.1) for parameter in group["params"]]
    assert len(grouped) == len({id(parameter) for parameter in grouped})
    assert all(parameter.requires_grad for parameter in grouped)


def test_group_without_parameters_is_left_out() -> None:
    groups = parameter_groups(nn.Embedding(3, 2), 0.1)
    assert [group["weight_decay"] for group in groups] == [0.1]


def named_kinds(model: nn.Module) -> dict[str, str]:
    kinds = parameter_kinds(model)
    return {name: kinds[parameter] for name, parameter in model.named_parameters()}


def test_kind_follows_from_the_part_and_the_cell() -> None:
    kinds = named_kinds(make_model())
    assert kinds["input.weight"] == "embedding"
    assert kinds["backbone.layers.1.lstm.weight_ih_l0"] == "input"
    assert kinds["backbone.layers.1.lstm.weight_hh_l0"] == "recurrent"
    assert {kind for name, kind in kinds.items() if "bias" in name or "norms" in name} == {"vector"}
    assert "output" in {kind for name, kind in kinds.items() if name.startswith("head.")}


@pytest.mark.parametrize(
    ("cell", "recurrent"),
    [
        (Skip, {"from_last.weight", "from_skipped.weight"}),
        (CoRNN, {"from_state.weight"}),
        (WeightDrop, {"inner.lstm.weight_hh_l0"}),
        (MinGRU, set()),
    ],
)
def test_cells_name_what_multiplies_their_state(cell: type, recurrent: set[str]) -> None:
    kinds = named_kinds(cell(3, 4))
    assert {name for name, kind in kinds.items() if kind == "recurrent"} == recurrent


def test_tied_matrix_is_an_embedding() -> None:
    model = make_model()
    model.head.tie(model.input)
    kinds = parameter_kinds(model)
    assert kinds[model.input.weight] == "embedding"
    assert sum(kind == "embedding" for kind in kinds.values()) == 1


def test_each_kind_decays_and_learns_as_it_is_told() -> None:
    model, kinds = make_model(), named_kinds(make_model())
    by_kind = GroupSettings(
        weight_decay_by=ByKind(recurrent=0.0, embedding=0.5, vector=0.01), lr_by=ByKind(output=0.1, embedding=2.0)
    )
    groups = parameter_groups(model, 0.3, 0.2, by_kind)
    names = {parameter: name for name, parameter in model.named_parameters()}
    seen = {
        kinds[names[parameter]]: (group["weight_decay"], group["lr"])
        for group in groups
        for parameter in group["params"]
    }
    assert seen == {
        "recurrent": (0.0, 0.2),
        "input": (0.3, 0.2),
        "embedding": (0.5, 0.4),
        "output": (0.3, pytest.approx(0.02)),
        "vector": (0.01, 0.2),
    }


def decay_and_rate_by_kind(experiment: Experiment) -> dict[str, tuple[float, float]]:
    kinds = parameter_kinds(experiment.model)
    return {
        kinds[parameter]: (group["weight_decay"], group["lr"])
        for group in experiment.trainer.optimizer.param_groups
        for parameter in group["params"]
    }


def test_optimizer_is_built_with_the_groups_of_the_config(tmp_path: Path) -> None:
    changes = {"optimizer.weight_decay_by": {"recurrent": 0}, "optimizer.lr_by": {"embedding": 0.5}}
    found = decay_and_rate_by_kind(make_experiment(write_text(tmp_path), changes))
    assert found == {
        "embedding": (0.01, 0.005),
        "input": (0.01, 0.01),
        "recurrent": (0.0, 0.01),
        "output": (0.01, 0.01),
        "vector": (0.0, 0.01),
    }


def test_kind_alone_leaves_the_optimizers_own_values_to_the_others(tmp_path: Path) -> None:
    changes = {"optimizer": {"_target_": "torch.optim.AdamW", "weight_decay_by": {"embedding": 0.7}}}
    found = decay_and_rate_by_kind(make_experiment(write_text(tmp_path), changes))
    assert (found["embedding"], found["input"], found["vector"]) == ((0.7, 1e-3), (0.01, 1e-3), (0.0, 1e-3))


def test_run_with_groups_resumes_to_the_bit(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    changes = {"optimizer.weight_decay_by": {"recurrent": 0.3}, "optimizer.lr_by": {"embedding": 0.5, "vector": 2}}
    whole, first, second = (make_experiment(text, changes).trainer for _ in range(3))
    whole.fit()
    first.fit(lambda: "SIGTERM" if first.step == 7 else None)
    second.load_state_dict(first.state_dict())
    second.fit()
    states = [{k: v for k, v in t.state_dict().items() if k != "seconds"} for t in (whole, second)]
    assert differences(*states) == []


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            ["optimizer.weight_decay_by.recurent=0"],
            "optimizer.weight_decay_by.recurent: no such key (did you mean recurrent?)",
        ),
        (["optimizer.weight_decay_by={embedding: -1}"], "optimizer.weight_decay_by.embedding=-1: expected"),
        (["optimizer.lr_by.input=fast"], "optimizer.lr_by.input=fast: expected"),
        (["optimizer.weight_decay_by=0.1"], "optimizer.weight_decay_by=0.1: optimizer.weight_decay_by is a section"),
        (["optimizer.weight_decay_buy.input=0"], "optimizer.weight_decay_buy: no such key"),
        (
            ["optimizer._target_=torch.optim.Rprop", "optimizer.weight_decay_by.input=0.1"],
            "optimizer.weight_decay_by: Rprop has no weight_decay",
        ),
    ],
)
def test_mistake_is_one_line(overrides: list[str], complaint: str) -> None:
    with pytest.raises(UserError) as error:
        check(compose(["optimizer=sgd", *overrides]))
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_keys_are_shown_with_the_optimizers() -> None:
    assert any("optimizer.weight_decay_by.KIND" in line for line in info_lines("optimizer/adamw"))
