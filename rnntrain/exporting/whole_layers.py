"""Layers that need no loop: every step is computed from its inputs at once."""

# B batch, T time, X numbers of a window, C context, S = C + T steps with those before the sequence, D input, H hidden,
# N heads, K width of one

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.cells.base import State
from rnntrain.cells.history import last_inputs, with_history
from rnntrain.cells.transformer import Cache, Transformer, rotate
from rnntrain.exporting.layers import Exported


class Convolved(Exported):
    """A temporal convolution network, which needs no loop."""

    def run(self, x_BTD: Tensor, state: State, lengths_B: Tensor) -> tuple[Tensor, State]:
        return self.cell(x_BTD, state, lengths_B)


class Products(nn.Module):
    """A convolution as one product over its window, as onnxruntime has none in float64.

    In float32 its rounding would be what a chaotic recurrence starts from.
    """

    weight_HX: Tensor

    def __init__(self, layer: nn.Conv1d) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("weight_HX", layer.weight.transpose(1, 2).flatten(1))

    def forward(self, x_BDT: Tensor) -> Tensor:
        reach, padding, dilation = self.layer.kernel_size[0], int(self.layer.padding[0]), self.layer.dilation[0]
        padded_BDT = F.pad(x_BDT, (padding, padding))
        num_steps = padded_BDT.shape[-1] - dilation * (reach - 1)
        window_BXT = torch.cat([padded_BDT[..., k * dilation :][..., :num_steps] for k in range(reach)], 1)
        y_BHT = self.weight_HX @ window_BXT
        return y_BHT if self.layer.bias is None else y_BHT + self.layer.bias[:, None]


def as_products(layer: nn.Module) -> nn.Module | None:
    """Return a convolution in float64 as products; None for any other layer, and for strides and groups."""
    if not isinstance(layer, nn.Conv1d) or layer.weight.dtype != torch.float64:
        return None
    plain = layer.stride == (1,) and layer.groups == 1 and layer.padding_mode == "zeros"
    return Products(layer) if plain and not isinstance(layer.padding, str) else None


class Attention(Exported):
    """A Transformer layer, which needs no loop: all queries against all keys, under a mask of those in reach.

    Time and memory grow with T (T + C), where the layer itself goes block by block; the number of blocks would be
    fixed by the trace.
    """

    cell: Transformer

    def run(self, x_BTD: Tensor, state: Cache, lengths_B: Tensor) -> tuple[Tensor, Cache]:
        cell = self.cell
        u_BTH = cell.from_input(x_BTD)
        q_BTH, k_BTH, v_BTH = cell.to_qkv(cell.attention_norm(u_BTH)).chunk(3, -1)
        k_BCH, v_BCH, valid_BC = state
        valid_BT = (torch.arange(x_BTD.shape[1]) < lengths_B[:, None]).to(valid_BC.dtype)
        k_BSH, v_BSH = with_history(k_BTH, k_BCH), with_history(v_BTH, v_BCH)
        valid_BS = torch.cat([valid_BC, valid_BT], 1)
        s_BTH = u_BTH + cell.from_heads(self._attend(q_BTH, k_BSH, v_BSH, valid_BS > 0))
        y_BTH = s_BTH + cell.narrow(F.gelu(cell.widen(cell.feedforward_norm(s_BTH))))
        valid_BC1 = last_inputs(valid_BS[..., None], valid_BC[..., None], lengths_B)
        return y_BTH, (last_inputs(k_BSH, k_BCH, lengths_B), last_inputs(v_BSH, v_BCH, lengths_B), valid_BC1[..., 0])

    def _attend(self, q_BTH: Tensor, k_BSH: Tensor, v_BSH: Tensor, valid_BS: Tensor) -> Tensor:
        context = self.cell.context
        reach = context if self.cell.causal else 2 * context
        places_S = torch.arange(k_BSH.shape[1])
        places_T = places_S[context:]  # query t stands C places into the keys
        distance_TS = places_S - places_T[:, None] + context
        seen_BTS = ((distance_TS >= 0) & (distance_TS <= reach) & valid_BS[:, None]) | (distance_TS == context)
        q, k, v = (x.unflatten(-1, (self.cell.num_heads, -1)).transpose(1, 2) for x in (q_BTH, k_BSH, v_BSH))
        q, k = rotate(q, places_T), rotate(k, places_S)
        scores_BNTS = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        weights_BNTS = scores_BNTS.masked_fill(~seen_BTS[:, None], -torch.inf).softmax(-1)
        return (weights_BNTS @ v).transpose(1, 2).flatten(2)
