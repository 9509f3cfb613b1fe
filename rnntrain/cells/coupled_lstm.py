"""LSTM with coupled gates: it takes in as much as it forgets."""

# B batch, T time, D input, H hidden

from __future__ import annotations

from rnntrain.cells.custom_lstm import CustomLSTM
from rnntrain.cells.init import Init
from rnntrain.native import recurrence
from rnntrain.ranges import MemorySpan, PositiveInt


class CoupledLSTM(CustomLSTM):
    """f_t = σ(W_f x_t + U_f h_{t-1} + b_f)
    o_t = σ(W_o x_t + U_o h_{t-1} + b_o)
    g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    c_t = f_t ⊙ c_{t-1} + (1 - f_t) ⊙ g_t
    h_t = o_t ⊙ tanh(c_t)

    The variant CIFG of Greff et al. 2017, arXiv:1503.04069, without its peepholes: as good as `LSTM` on their tasks
    with a quarter fewer weights. The cell is a mean of what was read and stays within ±1.

    The state is the tuple ``(h_BH, c_BH)`` and starts at zero. Each U starts orthogonal, each W Xavier uniform and the
    biases zero, or all of them U(-1/√H, 1/√H) with ``init="uniform"``; then b_f is set.

    Args:
        input_size: width D of the input.
        hidden_size: width H of each part of the state and of the output.
        init: how the weights start.
        forget_bias: where b_f starts; None leaves it as `init` has it.
        t_max: chrono initialisation for memories of up to so many steps, in place of `forget_bias`
            (`rnntrain.cells.init.start_memory_`).
        uniform_gates: uniform gate initialisation, in place of `forget_bias`.

    Raises:
        UserError: if both `t_max` and `uniform_gates` are given.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        init: Init = "orthogonal",
        forget_bias: float | None = 1.0,
        t_max: MemorySpan | None = None,
        uniform_gates: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, hidden_size, 3, init, forget_bias, t_max, uniform_gates)

    def kernel(self) -> recurrence.Kernel:
        linear = self.from_input
        return recurrence.Kernel(recurrence.COUPLED_LSTM, linear.weight, self.from_hidden.weight, linear.bias)
