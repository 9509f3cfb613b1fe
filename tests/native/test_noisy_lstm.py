"""The LSTM kernels with peepholes, zoneout, dropout of the update and layer norm equal their equations."""

# B batch, T time, D input, H hidden, G = 4H: output, input, forget gate and candidate

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rnntrain.native.recurrence import LAYER_NORM_LSTM, NOISY_LSTM, PEEPHOLE_LSTM, Kernel, Kind, Noise, recur

pytestmark = pytest.mark.usefixtures("_native")

KINDS = {"peephole": PEEPHOLE_LSTM, "noisy": NOISY_LSTM, "layer_norm": LAYER_NORM_LSTM}
NOISES = {
    "none": (),
    "update": ("update_BH",),
    "zoneout": ("zone_cell_TBH", "zone_hidden_TBH"),
    "all": ("update_BH", "zone_cell_TBH", "zone_hidden_TBH"),
}
SHAPES = {"small": (3, 5, 4, 5), "one": (1, 1, 1, 1), "odd": (7, 21, 17, 33), "vector": (4, 30, 6, 32)}


def inputs(kind: Kind, shape: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    B, T, D, H = SHAPES[shape]
    given = {
        "x": torch.randn(B, T, D),
        "h": torch.randn(B, H),
        "c": torch.randn(B, H),
        "weight_x": 0.3 * torch.randn(4 * H, D),
        "weight_h": 0.3 * torch.randn(4 * H, H),
        "bias_x": 0.3 * torch.randn(4 * H),
        "bias_h": 0.3 * torch.randn(4 * H),
    }
    if kind.options:
        given["options"] = 0.5 + torch.rand(kind.options * H)
    return {name: x.requires_grad_() for name, x in given.items()}


def draw(names: tuple[str, ...], shape: str) -> dict[str, Tensor]:
    B, T, _, H = SHAPES[shape]
    kinds = {"update_BH": (B, H), "zone_cell_TBH": (T, B, H), "zone_hidden_TBH": (T, B, H)}
    return {name: torch.rand(kinds[name]).round() if "zone" in name else 2 * torch.rand(B, H).round() for name in names}


def by_steps(kind: Kind, given: dict[str, Tensor], noise: dict[str, Tensor], lengths: list[int]) -> list[Tensor]:
    """Return outputs and last states by PyTorch's own operations."""
    h, c, outputs = given["h"], given["c"], []
    H = h.shape[1]
    options = given.get("options", torch.zeros(0)).split(H)
    products = F.linear(given["x"], given["weight_x"], given["bias_x"])
    if kind is LAYER_NORM_LSTM:
        products = F.layer_norm(products, (4 * H,), torch.cat(options[6:10]), torch.cat(options[10:]))
    for t in range(products.shape[1]):
        product = F.linear(h, given["weight_h"], given["bias_h"])
        if kind is LAYER_NORM_LSTM:
            product = F.layer_norm(product, (4 * H,), torch.cat(options[:4]))
        o, i, f, g = (products[:, t] + product).chunk(4, -1)
        if kind is PEEPHOLE_LSTM:
            i, f = i + options[1] * c, f + options[2] * c
        new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g) * noise.get("update_BH", torch.ones(()))
        if kind is PEEPHOLE_LSTM:
            o = o + options[0] * new_c
        shown = F.layer_norm(new_c, (H,), *options[4:6]) if kind is LAYER_NORM_LSTM else new_c
        new_h = torch.sigmoid(o) * torch.tanh(shown)
        if "zone_cell_TBH" in noise:
            new_c = torch.lerp(new_c, c, noise["zone_cell_TBH"][t])
            new_h = torch.lerp(new_h, h, noise["zone_hidden_TBH"][t])
        valid = (t < torch.tensor(lengths))[:, None]
        outputs.append(torch.where(valid, new_h, 0))
        h, c = torch.where(valid, new_h, h), torch.where(valid, new_c, c)
    return [torch.stack(outputs, 1), h, c]


def by_kernel(kind: Kind, given: dict[str, Tensor], noise: dict[str, Tensor], lengths: list[int]) -> list[Tensor]:
    weights: list[Any] = [given.get(name) for name in ("weight_x", "weight_h", "bias_x", "bias_h", "options")]
    state = given["h"], given["c"]
    return list(recur(Kernel(kind, *weights), given["x"], state, torch.tensor(lengths), Noise(**noise)))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "noise"),
    [("peephole", "none"), *itertools.product(("noisy", "layer_norm"), NOISES)],
)
def test_kernel_equals_the_steps(name: str, noise: str, shape: str, threads: int) -> None:
    kind, (B, T, _, _) = KINDS[name], SHAPES[shape]
    given, drawn = inputs(kind, shape), draw(NOISES[noise], shape)
    doubled = {key: x.detach().double().requires_grad_() for key, x in given.items()}
    exact_noise = {key: x.double() for key, x in drawn.items()}
    for lengths in ([T] * B, [(3 * b + T) % (T + 1) for b in range(B)]):
        torch.set_num_threads(threads)
        found = with_gradients(by_kernel(kind, given, drawn, lengths), given)
        torch.set_num_threads(1)  # what follows has many small operations
        rounded = with_gradients(by_steps(kind, given, drawn, lengths), given)
        exact = with_gradients(by_steps(kind, doubled, exact_noise, lengths), doubled)
        for actual, steps, target in zip(found, rounded, exact, strict=True):
            # As close to what is exact as the steps are, which round as well.
            allowed = 2e-6 * max(1.0, float(target.abs().max())) + 4 * float((steps - target).abs().max())
            torch.testing.assert_close(actual.double(), target, rtol=1e-5, atol=allowed)


def with_gradients(outputs: list[Tensor], given: dict[str, Tensor]) -> list[Tensor]:
    torch.manual_seed(3)
    factors = [torch.randn(y.shape, dtype=torch.float64).to(y.dtype) for y in outputs]
    return [*(y.detach() for y in outputs), *torch.autograd.grad(outputs, list(given.values()), factors)]
