"""A copy of a run's state in memory, quick to take, to be written while the run goes on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnntrain.checkpoints.state_tree import encode_tree


class Snapshots:
    """Takes copies of trees, each into the memory of the one before: there is one copy at a time, and no new pages.

    Memory of a first copy has to be got from the system and cleared, which takes as long as the copy itself.
    """

    def __init__(self) -> None:
        self._copies: dict[str, Tensor] = {}

    def take(self, tree: dict[str, Any]) -> tuple[bytes, dict[str, Tensor]]:
        """Return what `write_checkpoint` takes of a tree, as it is now. It is valid until the next one is taken.

        Raises:
            TypeError, ValueError: as `encode_tree`.
        """
        text, tensors = encode_tree(tree)
        self._copies = {name: self._copy(name, tensor.detach()) for name, tensor in tensors.items()}
        return text, self._copies

    def _copy(self, name: str, tensor: Tensor) -> Tensor:
        copy = self._copies.get(name)
        if copy is None or copy.shape != tensor.shape or copy.dtype != tensor.dtype:
            # Pinned memory is read off a GPU several times faster.
            copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        return copy.copy_(tensor)
