"""Each recurrence learns: a tiny batch by heart, through the stack that models are made of."""

# B batch, T time, D input, H hidden, V classes

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnntrain.cells.base import Recurrent
from rnntrain.cells.deltanet import DeltaNet
from rnntrain.cells.gated_linear import GatedLinear
from rnntrain.cells.lru import LRU
from rnntrain.cells.mingru import MinGRU
from rnntrain.cells.minlstm import MinLSTM
from rnntrain.cells.mlstm import MLSTM
from rnntrain.cells.qrnn import QRNN
from rnntrain.cells.rglru import RGLRU
from rnntrain.cells.slstm import SLSTM
from rnntrain.cells.sru import SRU
from rnntrain.cells.tcn import TCN
from rnntrain.cells.transformer import Transformer
from rnntrain.models.backbone import Backbone

B, T, H, V = 4, 12, 16, 5
CELLS: dict[str, Callable[[int, int], Recurrent]] = {
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "sru": SRU,
    "qrnn": QRNN,
    "lru": LRU,
    "lru_real": partial(LRU, eigenvalues="real"),
    "gated_linear": GatedLinear,
    "rglru": RGLRU,
    "slstm": partial(SLSTM, num_heads=2),
    "mlstm": partial(MLSTM, num_heads=2),
    "deltanet": partial(DeltaNet, num_heads=2),
    "transformer": partial(Transformer, num_heads=2, context=8),
    "encoder": partial(Transformer, num_heads=2, context=8, causal=False),
    "tcn": TCN,
}


@pytest.mark.parametrize("name", CELLS)
def test_overfits_one_batch(name: str) -> None:
    """Labels drawn at random, of inputs that are the same at every step but for the first: only memory tells them.

    Without it the loss stays above 1.
    """
    labels_BT = torch.randint(V, (B, T))
    x_BTD = torch.zeros(B, T, H)
    x_BTD[:, 0] = torch.randn(B, H)
    x_BTD[:, :, 0] = 1
    lengths_B = torch.tensor([T, T, 7, 3])
    valid_BT = torch.arange(T) < lengths_B[:, None]
    stack = Backbone(H, H, CELLS[name], num_layers=2, norm=True, residual=name not in ("transformer", "encoder", "tcn"))
    head = nn.Linear(H, V)
    weights = [*stack.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(weights, lr=0.01)
    for _ in range(400):
        loss = F.cross_entropy(head(stack(x_BTD, None, lengths_B)[0])[valid_BT], labels_BT[valid_BT])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if loss.item() < 0.3:
            return
    raise AssertionError(f"the loss is still {loss.item():.3f}")
