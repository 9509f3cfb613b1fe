"""The gates that a diagnosis shows are those that a step uses."""

# B batch, D input, H hidden

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from rnntrain.cells.antisymmetric import Antisymmetric
from rnntrain.cells.base import Recurrent, map_state
from rnntrain.cells.coupled_lstm import CoupledLSTM
from rnntrain.cells.deltanet import DeltaNet
from rnntrain.cells.dilated import Dilated
from rnntrain.cells.gated_linear import GatedLinear
from rnntrain.cells.gru import GRU
from rnntrain.cells.janet import JANET
from rnntrain.cells.layernorm_gru import LayerNormGRU
from rnntrain.cells.layernorm_lstm import LayerNormLSTM
from rnntrain.cells.lstm import LSTM
from rnntrain.cells.mingru import MinGRU
from rnntrain.cells.minlstm import MinLSTM
from rnntrain.cells.mlstm import MLSTM
from rnntrain.cells.peephole_lstm import PeepholeLSTM
from rnntrain.cells.projected_lstm import ProjectedLSTM
from rnntrain.cells.qrnn import QRNN
from rnntrain.cells.regularized_gru import RegularizedGRU
from rnntrain.cells.regularized_lstm import RegularizedLSTM
from rnntrain.cells.rglru import RGLRU
from rnntrain.cells.slstm import SLSTM
from rnntrain.cells.sru import SRU
from rnntrain.cells.weight_drop import WeightDrop

CELLS: dict[str, tuple[Callable[[int, int], Recurrent], set[str]]] = {
    "gru": (GRU, {"r", "z"}),
    "lstm": (LSTM, {"i", "f", "o"}),
    "mingru": (MinGRU, {"z"}),
    "minlstm": (MinLSTM, {"f", "i"}),
    "sru": (SRU, {"f", "r"}),
    "qrnn": (partial(QRNN, window=3), {"f", "o"}),
    "gated_linear": (GatedLinear, {"a", "i"}),
    "gated_linear_positive": (partial(GatedLinear, negative=False), {"a", "i"}),
    "rglru": (RGLRU, {"r", "i", "a"}),
    "slstm": (partial(SLSTM, num_heads=2), {"f", "o"}),
    "mlstm": (partial(MLSTM, num_heads=2), {"f", "o"}),
    "deltanet": (partial(DeltaNet, num_heads=2), {"alpha", "beta"}),
    "deltanet_negative": (partial(DeltaNet, gated=False, negative=True), {"beta"}),
    "janet": (JANET, {"f", "i"}),
    "coupled_lstm": (CoupledLSTM, {"f", "o"}),
    "peephole_lstm": (PeepholeLSTM, {"i", "f", "o"}),
    "projected_lstm": (ProjectedLSTM, {"i", "f", "o"}),
    "regularized_lstm": (partial(RegularizedLSTM, zoneout_cell=0.2), {"i", "f", "o"}),
    "layernorm_lstm": (LayerNormLSTM, {"i", "f", "o"}),
    "regularized_gru": (partial(RegularizedGRU, zoneout=0.2), {"r", "z"}),
    "layernorm_gru": (LayerNormGRU, {"r", "z"}),
    "antisymmetric": (partial(Antisymmetric, gated=True), {"z"}),
    "antisymmetric_plain": (Antisymmetric, set()),
    "weight_drop": (partial(WeightDrop, inner="gru"), {"r", "z"}),
    "dilated": (partial(Dilated, dilations=(1, 2)), {"r_0", "z_0", "r_1", "z_1"}),
}
B, D, H = 3, 4, 6


def example(name: str) -> tuple[Recurrent, Tensor, Any]:
    torch.manual_seed(0)
    cell = CELLS[name][0](D, H).double().eval()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    state = map_state(lambda s: torch.rand_like(s).sub_(0.5), cell.initial_state(B))
    return cell, torch.randn(B, D, dtype=torch.float64), state


@pytest.mark.parametrize("name", CELLS)
def test_gates_have_the_names_of_the_equations_and_lie_in_their_range(name: str) -> None:
    cell, x_BD, state = example(name)
    gates = cell.gate_values(x_BD, state)
    assert set(gates) == CELLS[name][1]
    for gate in gates.values():
        assert len(gate) == B
        assert ((gate > 0) & (gate < 1)).all()


def kept(cell: Recurrent, x_BD: Tensor, state: Any, part: int | None) -> Tensor:
    """Return what each unit keeps of its memory over one step, ``∂c_t / ∂c_{t-1}``; c is a part of the state."""
    memory_BH = (state if part is None else state[part]).requires_grad_()
    _, after = cell.step(x_BD, state)
    (grad_BH,) = torch.autograd.grad((after if part is None else after[part]).sum(), memory_BH)
    return grad_BH


@pytest.mark.parametrize(
    ("name", "part", "share"),
    [
        ("mingru", None, lambda gates: 1 - gates["z"]),
        ("minlstm", None, lambda gates: gates["f"] / (gates["f"] + gates["i"])),
        ("sru", None, lambda gates: gates["f"]),
        ("qrnn", 0, lambda gates: gates["f"]),
        ("gated_linear", None, lambda gates: 2 * gates["a"] - 1),
        ("gated_linear_positive", None, lambda gates: gates["a"]),
        ("rglru", None, lambda gates: gates["a"]),
        ("lstm", 1, lambda gates: gates["f"]),
        ("coupled_lstm", 1, lambda gates: gates["f"]),
        ("projected_lstm", 1, lambda gates: gates["f"]),
        ("layernorm_lstm", 1, lambda gates: gates["f"]),
        ("regularized_lstm", 1, lambda gates: 0.8 * gates["f"] + 0.2),
    ],
)
def test_memory_keeps_what_the_gates_say(
    name: str, part: int | None, share: Callable[[dict[str, Tensor]], Tensor]
) -> None:
    cell, x_BD, state = example(name)
    torch.testing.assert_close(kept(cell, x_BD, state, part), share(cell.gate_values(x_BD, state)))


@pytest.mark.parametrize("name", ["gru", "layernorm_gru", "antisymmetric", "janet"])
def test_gates_that_see_the_state_are_those_of_the_step(name: str) -> None:
    """An update gate near its end lets the state through, or holds it, as its value says."""
    cell, x_BD, state = example(name)
    gates = cell.gate_values(x_BD, state)
    y_BH, _ = cell.step(x_BD, state)
    if name == "antisymmetric":
        bound = 0.0 * gates["z"], cell.step_size * gates["z"]
        change = (y_BH - state).abs()
    else:
        keep, take = (gates["f"], gates["i"]) if name == "janet" else (gates["z"], 1 - gates["z"])
        bound, change = (0.0 * take, take), (y_BH - keep * state).abs()  # the candidate lies within ±1
    assert (change >= bound[0]).all()
    assert (change <= bound[1]).all()


def test_dropped_peephole_is_seen_by_its_gate() -> None:
    cell, x_BD, (h_BH, c_BH) = example("peephole_lstm")
    before = cell.gate_values(x_BD, (h_BH, c_BH))
    after = cell.gate_values(x_BD, (h_BH, c_BH + 1))
    assert all((before[name] != after[name]).all() for name in "ifo")
