"""A Transformer layer under the contract of a recurrence: its state is a window of keys and values."""

# B batch, T time, C context, S = C + T steps with those before the sequence, D input, H hidden, N heads, K = H / N,
# L queries of a block, M keys of a block

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import Recurrent, zero_padding
from rnntrain.cells.heads import check_heads
from rnntrain.cells.history import last_inputs, with_history
from rnntrain.cells.init import xavier_
from rnntrain.ranges import DropoutRate, PositiveInt

ROTARY_BASE = 10_000.0

Cache: TypeAlias = tuple[Tensor, Tensor, Tensor]


class Transformer(Recurrent):
    """u_t = x_t, or W x_t where the input is not H wide
    q_t, k_t, v_t = W_q ū_t + b_q, W_k ū_t + b_k, W_v ū_t + b_v   with ū = layernorm(u)
    s_t = u_t + W_o Σ_j softmax_j((R_t q_t)ᵀ (R_j k_j) / √K) v_j + b_o   over t - C ≤ j ≤ t, by head
    h_t = s_t + W_2 gelu(W_1 layernorm(s_t) + b_1) + b_2

    Vaswani et al. 2017, arXiv:1706.03762, with the norm before each part (Xiong et al. 2020, arXiv:2002.04745) and
    rotary positions R (Su et al. 2021, arXiv:2104.09864). One layer; depth is the stack's. The output is the residual
    stream itself, so a stack wants `model.norm=true` and not `model.residual`.

    Each step attends to itself and to the C = `context` steps before it (and after it, where not `causal`), so that
    the state has one size and a sequence costs O(T C). Through L layers a step sees L·C back.

    The state is ``(k_BCH, v_BCH, valid_BC)``: a window of the last C keys and values, the latest last, and 1 where a
    place is taken, 0 in a window that is not yet full. It starts at zero. Keys are kept as they are before the
    rotation: R_tᵀ R_j depends on t - j alone, and that is how far from the end of the window a key stands. So no
    position is counted, and a stream may be endless.

    Not `causal`, a layer is an encoder for the tasks that see their whole input: outputs then depend on later inputs,
    there is no `step`, and chunks do not equal the whole. A causal layer in `model.bidirectional=true` is two, one
    from each end.

    Parameters: 12 H² + 13 H with the default `feedforward_size` (4 H² + 2 F H + 9 H + F for F), and D H where the
    input is not H wide. An LSTM has 4 H (D + H + 2): for D = H, one layer of this is as large as an LSTM of √1.5 H.

    All W start Xavier uniform, W_q, W_k, W_v each by itself, and all biases zero.

    Args:
        input_size: width D of the input.
        hidden_size: width H of the output.
        num_heads: heads N; must divide `hidden_size` into heads of even width.
        context: steps C before the present one that it attends to.
        feedforward_size: width F of the feed-forward part; 4 H where None.
        dropout: share dropped of what each of the two parts adds.
        causal: attend to no later step.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_size` into heads of even width.
    """

    def __init__(
        self,
        input_size: PositiveInt,
        hidden_size: PositiveInt,
        num_heads: PositiveInt = 4,
        context: PositiveInt = 256,
        feedforward_size: PositiveInt | None = None,
        dropout: DropoutRate = 0.0,
        causal: bool = True,
    ) -> None:
        super().__init__()
        check_heads(num_heads, hidden_size)
        if hidden_size // num_heads % 2:
            raise ValueError(
                f"hidden_size={hidden_size} over num_heads={num_heads} is {hidden_size // num_heads}, and rotary "
                "positions turn pairs; choose heads of even width"
            )
        self.input_size, self.output_size = input_size, hidden_size
        self.num_heads, self.context, self.causal = num_heads, context, causal
        self.bidirectional = not causal
        feedforward_size = feedforward_size or 4 * hidden_size
        same_width = input_size == hidden_size
        self.from_input = nn.Identity() if same_width else nn.Linear(input_size, hidden_size, bias=False)
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.to_qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.from_heads = nn.Linear(hidden_size, hidden_size)
        self.widen, self.narrow = nn.Linear(hidden_size, feedforward_size), nn.Linear(feedforward_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        for linear in (module for module in self.modules() if isinstance(module, nn.Linear)):
            xavier_(linear.weight, 3 if linear is self.to_qkv else 1)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def initial_state(self, batch_size: int) -> Cache:
        k_BCH = self.to_qkv.weight.new_zeros(batch_size, self.context, self.output_size)
        return k_BCH, torch.zeros_like(k_BCH), k_BCH.new_zeros(batch_size, self.context)

    def forward(
        self, x_BTD: Tensor, state: Cache | None = None, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        if state is None:
            state = self.initial_state(x_BTD.shape[0])
        if lengths_B is not None:
            x_BTD = zero_padding(x_BTD, lengths_B)
        u_BTH = self.from_input(x_BTD)
        q_BTH, k_BTH, v_BTH = self.to_qkv(self.attention_norm(u_BTH)).chunk(3, -1)
        k_BCH, v_BCH, valid_BC = state
        valid_BT = valid_BC.new_ones(x_BTD.shape[:2])
        if lengths_B is not None:
            valid_BT = zero_padding(valid_BT[..., None], lengths_B)[..., 0]
        k_BSH, v_BSH = with_history(k_BTH, k_BCH), with_history(v_BTH, v_BCH)
        valid_BS1 = torch.cat([valid_BC, valid_BT], 1)[..., None]
        seen_BTH = self._attend(q_BTH, k_BSH, v_BSH, valid_BS1[..., 0] > 0)
        s_BTH = u_BTH + self.dropout(self.from_heads(seen_BTH))
        wide_BTF = F.gelu(self.widen(self.feedforward_norm(s_BTH)))
        y_BTH = s_BTH + self.dropout(self.narrow(wide_BTF))
        if lengths_B is not None:
            y_BTH = zero_padding(y_BTH, lengths_B)
        valid_BC1 = last_inputs(valid_BS1, valid_BC[..., None], lengths_B)
        return y_BTH, (last_inputs(k_BSH, k_BCH, lengths_B), last_inputs(v_BSH, v_BCH, lengths_B), valid_BC1[..., 0])

    def step(self, x_BD: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        if not self.causal:
            raise NotImplementedError(
                "a Transformer that is not causal cannot run step by step, its outputs depend on later inputs; "
                "set model.cell.causal=true"
            )
        y_B1H, state = self(x_BD[:, None], state)
        return y_B1H[:, 0], state

    def _attend(self, q_BTH: Tensor, k_BSH: Tensor, v_BSH: Tensor, valid_BS: Tensor) -> Tensor:
        """Return ``[B, T, H]`` of what each query reads, in blocks of C queries, each with the keys in its reach."""
        num_steps, context = q_BTH.shape[1], self.context
        reach = context if self.causal else 2 * context
        length = num_steps if num_steps <= 2 * context else context
        num_blocks = -(-num_steps // length)
        q_BTH = F.pad(q_BTH, (0, 0, 0, num_blocks * length - num_steps))
        num_keys = num_blocks * length + reach - k_BSH.shape[1]
        k_BSH, v_BSH = F.pad(k_BSH, (0, 0, 0, num_keys)), F.pad(v_BSH, (0, 0, 0, num_keys))
        valid_BS = F.pad(valid_BS, (0, num_keys))
        q_ZLH = q_BTH.reshape(-1, length, self.output_size)
        k_ZMH, v_ZMH = (_overlapping(part, length, reach) for part in (k_BSH, v_BSH))
        valid_ZM = _overlapping(valid_BS[..., None], length, reach)[..., 0]
        # Query l stands at place l + C of its block's keys; itself is always seen, so that no softmax is empty.
        distance_LM = (
            torch.arange(length + reach, device=q_ZLH.device) - torch.arange(length, device=q_ZLH.device)[:, None]
        )
        in_reach_LM = (distance_LM >= 0) & (distance_LM <= reach)
        mask_ZLM = (in_reach_LM & valid_ZM[:, None]) | (distance_LM == context)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q_ZLH, k_ZMH, v_ZMH))
        places_M = torch.arange(length + reach, device=q_ZLH.device)
        q, k = rotate(q, places_M[context : context + length]), rotate(k, places_M)
        read_ZNLK = F.scaled_dot_product_attention(q, k, v.to(q.dtype), mask_ZLM[:, None])
        return read_ZNLK.transpose(1, 2).reshape(*q_BTH.shape)[:, :num_steps]


def _overlapping(x_BSH: Tensor, length: int, reach: int) -> Tensor:
    """Return ``[B · blocks, length + reach, H]``: blocks of `length` steps, each with the `reach` steps after it."""
    if x_BSH.shape[1] == length + reach:
        return x_BSH
    pieces_BPCH = x_BSH.unflatten(1, (-1, length))
    num_blocks = pieces_BPCH.shape[1] - reach // length
    parts = [pieces_BPCH[:, piece : piece + num_blocks] for piece in range(reach // length + 1)]
    return torch.cat(parts, 2).flatten(0, 1)


def rotate(x: Tensor, places: Tensor) -> Tensor:
    """Turn pairs of ``x[..., T, K]`` by the angles place · base^(-2j/K): rotary positions, halves paired."""
    half = x.shape[-1] // 2
    frequencies = ROTARY_BASE ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angles = places[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
