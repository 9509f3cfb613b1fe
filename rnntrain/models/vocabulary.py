"""The output layer over a vocabulary, and its cross-entropy without ever holding all logits."""

# B batch, T time, H hidden, V vocabulary, N = B·T rows, C rows of one chunk

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnntrain.batch import length_mask
from rnntrain.errors import UserError

# A chunk of logits takes at most this many elements: 32 MiB in float32, about what a processor's cache holds.
CHUNK_ELEMENTS = 2**23


class VocabularyLogits(NamedTuple):
    """Logits that have not been computed yet: ``hidden_BTH @ weight_VH.T + bias_V``.

    A loss over a large vocabulary takes them in chunks; whoever wants them whole calls `compute`.
    """

    hidden: Tensor
    weight_VH: Tensor
    bias_V: Tensor

    def compute(self) -> Tensor:
        """Return ``logits_BTV`` (or ``logits_BV`` of a single step)."""
        return F.linear(self.hidden, self.weight_VH, self.bias_V)

    def cross_entropy(self, targets_BT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the summed negative log-likelihood of the targets in nats, and how many there are."""
        hidden_NH = self.hidden.flatten(0, -2)
        targets_N = targets_BT.flatten()
        if lengths_B is None:
            count = torch.tensor(float(targets_N.numel()))
        else:
            valid_N = length_mask(lengths_B, targets_BT.shape[1]).flatten()
            hidden_NH, targets_N = hidden_NH[valid_N], targets_N[valid_N]
            count = lengths_B.sum().float()
        if targets_N.numel() * self.weight_VH.shape[0] <= CHUNK_ELEMENTS:
            logits_NV = F.linear(hidden_NH, self.weight_VH, self.bias_V)
            return F.cross_entropy(logits_NV.float(), targets_N, reduction="sum"), count
        return chunked_cross_entropy(hidden_NH, self.weight_VH, self.bias_V, targets_N), count


class VocabularyHead(nn.Module):
    """A linear layer from the hidden state to one logit a vocabulary entry.

    Initialisation: weights uniform in ±1/√H, the bias zero, so that a new model's loss is about log V.
    """

    def __init__(self, input_size: int, vocab_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, input_size).uniform_(-(input_size**-0.5), input_size**-0.5))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden: Tensor) -> VocabularyLogits:
        return VocabularyLogits(hidden, self.weight, self.bias)

    def tie(self, embedding: nn.Module) -> None:
        """Share the weights of the input embedding (Press and Wolf 2017, arXiv:1608.05859).

        Raises:
            UserError: if the widths differ.
        """
        shared = getattr(embedding, "weight", None)
        if not isinstance(shared, nn.Parameter) or shared.shape != self.weight.shape:
            raise UserError(
                f"model.tie_embeddings: the embedding is {tuple(getattr(shared, 'shape', ()))} and the output layer "
                f"{tuple(self.weight.shape)}; set model.embedding_size={self.weight.shape[1]}"
            )
        self.weight = shared
        # The smaller scale of an output layer serves both ends; that of an embedding would start far above log V.
        with torch.no_grad():
            shared.uniform_(-(shared.shape[1] ** -0.5), shared.shape[1] ** -0.5)


def chunked_cross_entropy(hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor) -> Tensor:
    """Return Σ -log softmax(h Wᵀ + b)[target] in nats, a chunk of rows at a time.

    The gradient of the sum is known as soon as a chunk's logits are (softmax minus one-hot), so it is taken in the
    forward pass and the logits are dropped: memory stays at one chunk, and no logit is computed twice. Under autocast
    the three products run in the reduced precision; logits' softmax and the sums are float32.
    """
    needs_grad = torch.is_grad_enabled()
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden_NH, weight_VH, bias_V, targets_N, needs_grad)
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor, needs_grad: bool
    ) -> Tensor:
        device = hidden_NH.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight_VH.dtype
        with torch.autocast(device, enabled=False):
            loss, grads = _loss_and_gradients(hidden_NH.to(dtype), weight_VH.to(dtype), bias_V, targets_N, needs_grad)
        if needs_grad:
            grad_hidden_NH, grad_weight_VH, grad_bias_V = grads
            ctx.save_for_backward(grad_hidden_NH.to(hidden_NH.dtype), grad_weight_VH, grad_bias_V)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        # The saved gradients are ours alone, and a second backward is refused by autograd: scale them in place.
        hidden, weight, bias = (saved.mul_(grad_loss) for saved in ctx.saved_tensors)
        return hidden, weight, bias, None, None


def _loss_and_gradients(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor, needs_grad: bool
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    vocab_size = weight_VH.shape[0]
    rows = max(1, CHUNK_ELEMENTS // vocab_size)
    loss = bias_V.new_zeros((), dtype=torch.promote_types(bias_V.dtype, torch.float32))
    grad_hidden_NH = torch.empty_like(hidden_NH) if needs_grad else hidden_NH
    grad_weight_VH = torch.zeros_like(weight_VH, dtype=bias_V.dtype)
    grad_bias_V = torch.zeros_like(bias_V)
    for start in range(0, hidden_NH.shape[0], rows):
        hidden_CH, targets_C = hidden_NH[start : start + rows], targets_N[start : start + rows]
        logits_CV = torch.mm(hidden_CH, weight_VH.t()).to(loss.dtype).add_(bias_V)
        log_norm_C = logits_CV.logsumexp(1)
        loss += (log_norm_C - logits_CV.gather(1, targets_C[:, None]).squeeze(1)).sum()
        if not needs_grad:
            continue
        grad_CV = logits_CV.sub_(log_norm_C[:, None]).exp_()
        grad_CV.scatter_add_(1, targets_C[:, None], -torch.ones_like(targets_C[:, None], dtype=grad_CV.dtype))
        grad_bias_V += grad_CV.sum(0)
        grad_CV = grad_CV.to(weight_VH.dtype)
        torch.mm(grad_CV, weight_VH, out=grad_hidden_NH[start : start + rows])
        grad_weight_VH += torch.mm(grad_CV.t(), hidden_CH)
    return loss, (grad_hidden_NH, grad_weight_VH, grad_bias_V)
