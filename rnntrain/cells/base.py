"""The contract that every recurrence keeps, and the operations on its state."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

# Far beyond any pre-activation, so that a sigmoid is exactly 0 or 1, and within float16, which ends at 65504.
SATURATED = 1e4

# A tensor whose first dimension is the batch, or a tuple of states: a stack of layers nests those of its cells.
State: TypeAlias = Any


class Recurrent(nn.Module, ABC):
    """Maps a sequence and a state to a sequence and a state.

    Every implementation keeps four promises, which `tests/cells/test_contract.py` checks:

    1. the sequence equals its steps: `forward` over T steps equals T calls of `step`;
    2. chunks equal the whole: passing the final state of one chunk to the next changes nothing;
    3. padding is inert: what stands beyond `lengths_B` reaches neither outputs, state nor gradients. Outputs are
       zero there, and the final state is that of the last valid step (the initial one for a row of length 0);
    4. gradients pass `torch.autograd.gradcheck`.

    Attributes:
        input_size: width D of the input.
        output_size: width of the output.
        bidirectional: True where an output depends on later inputs; `step` then raises `NotImplementedError`.
    """

    input_size: int
    output_size: int
    bidirectional: bool = False
    # How the parameters that the state is multiplied by are named, or the modules that hold them; see `optim`.
    recurrent_names: tuple[str, ...] = ("weight_hh", "from_hidden")

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Return the state before the first step for `batch_size` rows, on the weights' device and in their dtype."""

    @abstractmethod
    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        """Run over a sequence: return ``y_BTH`` and the state after each row's last valid step."""

    @abstractmethod
    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one step: return ``y_BH`` and the next state."""

    def gate_values(self, x_BD: Tensor, state: State) -> dict[str, Tensor]:
        """Return the gates of one step, values in [0, 1], by the name that the equations give them; none by default."""
        return {}


class Cell(Recurrent):
    """A recurrence that is written as one step; `forward` loops over it.

    This is the class to start from for a cell of one's own: implement `initial_state` and `step`.
    """

    def forward(self, x_BTD: Tensor, state: State = None, lengths_B: Tensor | None = None) -> tuple[Tensor, State]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        outputs: list[Tensor] = []
        # unbind once: indexing x[:, t] in the loop would allocate a gradient of the whole sequence at every step.
        for t, x_BD in enumerate(x_BTD.unbind(1)):
            y_BH, new_state = self.step(x_BD, state)
            state = new_state if lengths_B is None else select_rows(t < lengths_B, new_state, state)
            outputs.append(y_BH)
        y_BTH = torch.stack(outputs, 1)
        return (y_BTH if lengths_B is None else zero_padding(y_BTH, lengths_B)), state


def known_to_be_full(lengths_B: Tensor, num_steps: int) -> bool:
    """Say whether no row is padded, as far as that can be known without making the host wait for a GPU."""
    return not lengths_B.is_cuda and bool((lengths_B >= num_steps).all())


def zero_padding(x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """Set padded places to zero, also where they hold NaN, and cut their gradient."""
    padded_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) >= lengths_B[:, None]
    return x_BTD.masked_fill(padded_BT[..., None], 0)


def last_valid(y_BTH: Tensor, lengths_B: Tensor, initial_BH: Tensor) -> Tensor:
    """Return each row's output at its last valid step, or `initial_BH` where a row has none."""
    index_B = (lengths_B - 1).clamp(min=0)
    last_BH = y_BTH.gather(1, index_B[:, None, None].expand(-1, 1, y_BTH.shape[-1])).squeeze(1)
    return torch.where((lengths_B > 0)[:, None], last_BH, initial_BH)


def weights_of(layer: nn.RNNBase) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `all_weights[0]` does, in half its time, which is a fifth of a step of sampling.

    They are W_ih, W_hh, b_ih and b_hh of a layer in one direction.
    """
    weights: tuple[Any, Any, Any, Any] = (
        layer.weight_ih_l0,
        layer.weight_hh_l0,
        layer.bias_ih_l0,
        layer.bias_hh_l0,
    )
    return weights


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """Apply `function` to every tensor of a state."""
    if isinstance(state, tuple):
        return tuple(map_state(function, part) for part in state)
    return function(state)


def join_rows(states: Sequence[State]) -> State:
    """Lay states of one shape side by side: the batches follow one another."""
    if isinstance(states[0], tuple):
        return tuple(join_rows(parts) for parts in zip(*states, strict=True))
    return torch.cat(list(states))


def detach(state: State) -> State:
    """Cut a state from its history, as truncated backpropagation through time does between windows."""
    return map_state(Tensor.detach, state)


def select_rows(mask_B: Tensor, if_true: State, if_false: State) -> State:
    """Choose row by row between two states of one shape."""
    if isinstance(if_true, tuple):
        return tuple(select_rows(mask_B, a, b) for a, b in zip(if_true, if_false, strict=True))
    return torch.where(mask_B.view(-1, *[1] * (if_true.dim() - 1)), if_true, if_false)
