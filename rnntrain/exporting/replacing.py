"""Which layer takes the place of which recurrence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from rnntrain.cells.base import Recurrent
from rnntrain.cells.lru import LRU
from rnntrain.cells.mlstm import MLSTM
from rnntrain.cells.projected import ProjectedCell
from rnntrain.cells.qrnn import QRNN
from rnntrain.cells.scanned import Scanned
from rnntrain.cells.tcn import TCN
from rnntrain.cells.transformer import Transformer
from rnntrain.cells.weight_drop import WeightDrop
from rnntrain.exporting.layers import Loop, PreciseLoop, ProjectedLoop
from rnntrain.exporting.linear_layers import ComplexLoop, LinearLoop, QRNNLoop
from rnntrain.exporting.whole_layers import Attention, Convolved, as_products
from rnntrain.models.backbone import Backbone, Bidirectional


def exportable(layer: Recurrent) -> Recurrent:
    """Return what takes the place of one recurrence in a graph."""
    if isinstance(layer, LRU) and layer.eigenvalues == "complex":
        return ComplexLoop(layer)
    if isinstance(layer, QRNN):
        return QRNNLoop(layer)
    if isinstance(layer, MLSTM) and layer.from_input.weight.dtype != torch.float64:
        return PreciseLoop(layer)
    # A subclass with a step of its own is taken at its step's word.
    if isinstance(layer, ProjectedCell) and type(layer).step is ProjectedCell.step:
        return ProjectedLoop(layer)
    if isinstance(layer, LRU) or (isinstance(layer, Scanned) and type(layer).step is Scanned.step):
        return LinearLoop(layer)
    if isinstance(layer, TCN):
        return Convolved(layer)
    return Attention(layer) if isinstance(layer, Transformer) else Loop(layer)


def make_exportable(module: nn.Module, kernel: Callable[[Recurrent], Recurrent | None] = lambda _: None) -> None:
    """Put an exportable layer in the place of every recurrence, and convolution in float64, within a module.

    Args:
        kernel: gives what a format has of its own for a recurrence, or None.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, WeightDrop):  # drops nothing once it is trained
            child = child.inner
        if isinstance(child, Recurrent) and not isinstance(child, Backbone | Bidirectional):
            setattr(module, name, kernel(child) or exportable(child))
        elif (products := as_products(child)) is not None:
            setattr(module, name, products)
        else:
            make_exportable(child, kernel)
