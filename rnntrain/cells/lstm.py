"""Long short-term memory, at the speed of PyTorch's kernel, with or without padding."""

# B batch, T time, D input, E = D + 1, H hidden, G = 4H: input, forget, cell and output gate

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import SATURATED, Recurrent, known_to_be_full, last_valid, weights_of, zero_padding
from rnntrain.cells.init import Init, initialize, start_memory_
from rnntrain.native import library, recurrence
from rnntrain.ranges import MemorySpan, PositiveInt

# From this width on the products outweigh all else, and PyTorch's kernel (oneDNN) is at least as fast as ours.
LARGE = 512


class LSTM(Recurrent):
    """i_t = σ(W_i x_t + U_i h_{t-1} + b_i)
    f_t = σ(W_f x_t + U_f h_{t-1} + b_f)
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    o_t = σ(W_o x_t + U_o h_{t-1} + b_o)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
    h_t = o_t ⊙ tanh(c_t)

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000; the equations
    are those of Graves 2013, arXiv:1308.0850, without its peephole weights. `torch.nn.LSTM` computes
    it, or our own kernels on a processor where these are built, with gates in the order i, f, g, o and two biases a
    gate, of which the second is redundant.

    The state is the tuple ``(h_BH, c_BH)`` and starts at zero. Each U starts orthogonal, each W Xavier uniform
    and the biases zero, or all of them U(-1/√H, 1/√H), PyTorch's own, with ``init="uniform"``. Then b_f is set to
    `forget_bias`, whatever `init` is, so that c outlives the first steps (Jozefowicz et al. 2015).

    Args:
        input_size: width D of the input.
        hidden_size: width H of each part of the state and of the output.
        init: how the weights start.
        forget_bias: where b_f starts; None leaves it as `init` has it. PyTorch's own start is
            ``init="uniform", forget_bias=None``.
        t_max: chrono initialisation for memories of up to so many steps, in place of `forget_bias`
            (`rnntrain.cells.init.start_memory_`).
        uniform_gates: uniform gate initialisation, in place of `forget_bias`.

    Raises:
        UserError: if both `t_max` and `uniform_gates` are given.
        ValueError: if a size is below 1.
        RuntimeError: from `forward` or `step`, if the input is not `input_size` wide.
    """

    freeze_G1: Tensor

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        init: Init = "orthogonal",
        forget_bias: float | None = 1.0,
        t_max: MemorySpan | None = None,
        uniform_gates: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        weight_ih, weight_hh, bias_ih, bias_hh = self.lstm.all_weights[0]
        initialize(init, weight_ih, weight_hh, bias_ih, bias_hh)
        start_memory_(
            (bias_ih, bias_hh), 1, 4, write=0, forget_bias=forget_bias, t_max=t_max, uniform_gates=uniform_gates
        )
        freeze_4 = torch.tensor([-SATURATED, SATURATED, 0.0, 0.0])
        self.register_buffer("freeze_G1", freeze_4.repeat_interleave(hidden_size)[:, None], persistent=False)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        h_BH = self.lstm.all_weights[0][0].new_zeros(batch_size, self.output_size)
        return h_BH, torch.zeros_like(h_BH)

    def forward(
        self, x_BTD: Tensor, state: tuple[Tensor, Tensor] | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h_BH, c_BH = self.initial_state(x_BTD.shape[0]) if state is None else state
        if self.output_size < LARGE and library.usable(x_BTD, h_BH, c_BH, *self.lstm.all_weights[0]):
            y_BTH, last_h_BH, last_c_BH = recurrence.recur(self._kernel(), x_BTD, (h_BH, c_BH), lengths_B)
            return y_BTH, (last_h_BH, last_c_BH)
        if lengths_B is None or known_to_be_full(lengths_B, x_BTD.shape[1]):
            y_BTH, (h_1BH, c_1BH) = self.lstm(x_BTD, (h_BH[None], c_BH[None]))
            return y_BTH, (h_1BH[0], c_1BH[0])
        y_BTH, last_c_BH = self._forward_padded(x_BTD, h_BH, c_BH, lengths_B)
        return zero_padding(y_BTH, lengths_B), (last_valid(y_BTH, lengths_B, h_BH), last_c_BH)

    def _forward_padded(self, x_BTD: Tensor, h_BH: Tensor, c_BH: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Run the kernel so that it carries each row's c unchanged from its last valid step to the end.

        The kernel gives every h but only the last c. So padded steps are flagged by one more input, whose
        constant weights hold the input gate at exactly 0 and the forget gate at exactly 1: c_t = 1·c_{t-1} + 0·g_t,
        and the gates' own gradients σ(1-σ) are exactly 0. The price is one more column in a product; packed
        sequences or a loop would leave the fast kernel.
        """
        self.lstm.check_input(x_BTD, None)
        weight_GD, *other_weights = self.lstm.all_weights[0]
        # Time first is the kernel's own order: it would copy anything else once more.
        x_TBD = zero_padding(x_BTD, lengths_B).transpose(0, 1)
        padded_TB = torch.arange(x_TBD.shape[0], device=x_BTD.device)[:, None] >= lengths_B
        x_TBE = torch.cat([x_TBD, padded_TB[..., None].to(x_TBD.dtype)], -1)
        weight_GE = torch.cat([weight_GD, self.freeze_G1], 1)
        with _no_word_of_copied_weights() if x_BTD.is_cuda else contextlib.nullcontext():
            y_TBH, _, c_1BH = torch.lstm(
                x_TBE,
                (h_BH[None], c_BH[None]),
                (weight_GE, *other_weights),
                has_biases=True,
                num_layers=1,
                dropout=0.0,
                train=self.training,
                bidirectional=False,
                batch_first=False,
            )
        return y_TBH.transpose(0, 1), c_1BH[0]

    def _kernel(self) -> recurrence.Kernel:
        weight_ih, weight_hh, bias_ih, bias_hh = weights_of(self.lstm)
        return recurrence.Kernel(recurrence.LSTM, weight_ih, weight_hh, bias_ih, bias_hh)

    def step(self, x_BD: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if library.usable_for_step(x_BD):
            found = recurrence.step(self._kernel(), x_BD, state)
            if found is not None:
                return found[0], (found[0], found[1])
        h_BH, c_BH = state
        size = self.output_size
        # For one row, the number of operations is what a step costs.
        i_f, g, o = self._products(x_BD, h_BH).split([2 * size, size, size], -1)
        i, f = torch.sigmoid(i_f).chunk(2, -1)
        c_BH = f * c_BH + i * torch.tanh(g)
        h_BH = torch.sigmoid(o) * torch.tanh(c_BH)
        return h_BH, (h_BH, c_BH)

    def gate_values(self, x_BD: Tensor, state: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        i, f, _, o = self._products(x_BD, state[0]).chunk(4, -1)
        return {"i": torch.sigmoid(i), "f": torch.sigmoid(f), "o": torch.sigmoid(o)}

    def _products(self, x_BD: Tensor, h_BH: Tensor) -> Tensor:
        weight_ih, weight_hh, bias_ih, bias_hh = self.lstm.all_weights[0]
        return F.linear(x_BD, weight_ih, bias_ih) + F.linear(h_BH, weight_hh, bias_hh)


@contextlib.contextmanager
def _no_word_of_copied_weights() -> Iterator[None]:
    """Silence cuDNN's advice to flatten the weights: those with one more column are new in every call."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")
        yield
