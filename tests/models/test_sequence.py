"""What the whole model adds to its parts: penalties on its outputs, and a head of its own."""

# B batch, T time, H hidden

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnntrain.batch import Batch
from rnntrain.cells.rnn import RNN
from rnntrain.errors import UserError
from rnntrain.models.sequence import SequenceModel

B, T, H = 3, 5, 4


class Whole(nn.Module):
    """A head that gives what it gets."""

    def forward(self, y_BTH: torch.Tensor, batch: Batch | None = None) -> torch.Tensor:
        return y_BTH


def model_with(**options: float) -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(lambda size: nn.Linear(2, size), lambda size: Whole(), RNN, hidden_size=H, **options)


def batch_of(lengths: list[int] | None = None) -> Batch:
    torch.manual_seed(1)
    return Batch(torch.randn(B, T, 2), torch.zeros(B), None if lengths is None else torch.tensor(lengths))


def test_activations_are_penalised_by_their_mean_square() -> None:
    model = model_with(activation_penalty=2.0)
    y_BTH, _ = model(batch_of())
    torch.testing.assert_close(model.penalty, 2.0 * y_BTH.square().mean())


def test_changes_are_penalised_over_valid_steps_alone() -> None:
    model = model_with(change_penalty=3.0)
    lengths = [5, 2, 1]
    y_BTH, _ = model(batch_of(lengths))
    changes = sum((y_BTH[b, 1:n] - y_BTH[b, : n - 1]).square().sum() for b, n in enumerate(lengths))
    torch.testing.assert_close(model.penalty, 3.0 * changes / (sum(lengths) * H))


@pytest.mark.parametrize("options", [{}, {"activation_penalty": 1.0}])
def test_nothing_is_penalised_in_evaluation_or_unasked(options: dict[str, float]) -> None:
    model = model_with(**options)
    if options:
        model.eval()
    model(batch_of())
    assert model.penalty is None


def test_raw_inputs_reach_the_first_recurrence_as_they_are() -> None:
    model = model_with(raw_inputs=True)
    batch = batch_of()
    torch.testing.assert_close(model(batch)[0], model.backbone(batch.inputs)[0])
    assert model.backbone.input_size == 2
    assert not list(model.input.parameters())


def test_raw_inputs_have_their_own_width() -> None:
    with pytest.raises(UserError, match=r"model\.embedding_size=8: .* null"):
        model_with(raw_inputs=True, embedding_size=8)


def test_symbols_cannot_be_read_raw() -> None:
    with pytest.raises(UserError, match=r"model\.raw_inputs=true: Embedding reads"):
        SequenceModel(lambda size: nn.Embedding(5, size), lambda size: Whole(), RNN, hidden_size=H, raw_inputs=True)
