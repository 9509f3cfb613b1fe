"""The input layer: an embedding of symbols, or a linear layer over numbers."""

# B batch, T time, F features, D embedding

from __future__ import annotations

from torch import nn

from rnntrain.data.numbers.sequences import Inputs, SymbolInputs


def make_input_layer(inputs: Inputs, size: int) -> nn.Module:
    """Return the module from ``[B, T]`` symbols or ``[B, T, F]`` numbers to ``x_BTD`` with D = `size`.

    Initialisation: PyTorch's own: embeddings N(0, 1), linear weights uniform in ±1/√F.
    """
    if isinstance(inputs, SymbolInputs):
        return nn.Embedding(inputs.vocab_size, size)
    return nn.Linear(inputs.num_features, size)
