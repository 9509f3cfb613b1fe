"""The recurrences of xLSTM and DeltaNet compute what their docstrings state, in steps and in chunks."""

# B batch, T time, D input, H hidden, N heads, K width of a head

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rnntrain.cells.deltanet import EPSILON, DeltaNet
from rnntrain.cells.heads import CHUNK, log_decays
from rnntrain.cells.mlstm import MLSTM
from rnntrain.cells.slstm import SLSTM

B, T, D, N, K = 2, 6, 3, 2, 4
H = N * K


@pytest.fixture
def x_BTD() -> Tensor:
    return torch.randn(B, T, D, dtype=torch.float64)


def scrambled(cell: Any) -> Any:
    cell.double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


def head(vector: Tensor, number: int) -> Tensor:
    return vector[number * K : (number + 1) * K]


def test_mlstm_equals_its_equations_without_the_stabiliser(x_BTD: Tensor) -> None:
    cell = scrambled(MLSTM(D, H, N))
    y_BTH, (C_BNKK, n_BNK, m_BN) = cell(x_BTD)
    for row in range(B):
        for number in range(N):
            C, n = torch.zeros(K, K, dtype=torch.float64), torch.zeros(K, dtype=torch.float64)
            for t in range(T):
                x = x_BTD[row, t]
                parts = [head(part, number) for part in (cell.from_input.weight @ x + cell.from_input.bias).chunk(4)]
                q, k, v, o = parts[0], parts[1] / math.sqrt(K), parts[2], torch.sigmoid(parts[3])
                gates = cell.gates.weight @ x + cell.gates.bias
                i, f = gates[number].exp(), torch.sigmoid(gates[N + number])
                C, n = f * C + i * torch.outer(v, k), f * n + i * k
                expected = o * (C @ q) / max(abs(n @ q), torch.tensor(1.0))
                torch.testing.assert_close(head(y_BTH[row, t], number), expected)
            scale = m_BN[row, number].exp()
            torch.testing.assert_close((C_BNKK[row, number] * scale, n_BNK[row, number] * scale), (C, n))


@pytest.mark.parametrize("size", [-300.0, -30.0, 30.0, 300.0])
def test_mlstm_stands_gates_whose_exponential_overflows(size: float) -> None:
    cell = MLSTM(D, H, N)
    with torch.no_grad():
        cell.gates.bias[:N] = size
    y_BTH, state = cell(torch.randn(B, 70, D))
    y_BTH.square().sum().backward()
    assert all(tensor.isfinite().all() for tensor in (y_BTH, *state))
    assert all(parameter.grad.isfinite().all() for parameter in cell.parameters())
    assert bool(y_BTH.abs().max() > 1e-3) == (size > 0)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("negative", [True, False])
def test_deltanet_equals_its_equations(gated: bool, negative: bool, x_BTD: Tensor) -> None:
    cell = scrambled(DeltaNet(D, H, N, gated, negative))
    S_BNKK = torch.randn(B, N, K, K, dtype=torch.float64)
    y_BTH, last_BNKK = cell(x_BTD, S_BNKK)
    for row in range(B):
        for number in range(N):
            S = S_BNKK[row, number]
            for t in range(T):
                x = x_BTD[row, t]
                q, k, v, gate = (head(part, number) for part in (cell.from_input.weight @ x).chunk(4))
                q, k = q / q.norm(), k / k.norm()
                beta = torch.sigmoid(cell.beta.weight[number] @ x + cell.beta.bias[number]) * (2 if negative else 1)
                alpha = torch.ones(())
                if gated:
                    rate = torch.log1p(torch.exp(cell.alpha.weight[number] @ x + cell.alpha.bias[number]))
                    alpha = torch.exp(-cell.log_rate[number].exp() * rate)
                S = alpha * S @ (torch.eye(K) - beta * torch.outer(k, k)) + beta * torch.outer(v, k)
                read = S @ q
                normed = cell.norm_weight * read / (read.square().mean() + EPSILON).sqrt()
                torch.testing.assert_close(head(y_BTH[row, t], number), normed * gate * torch.sigmoid(gate))
            torch.testing.assert_close(last_BNKK[row, number], S)


def test_deltanet_overwrites_what_lies_under_a_key() -> None:
    """With β = 1 a memory gives back the last value that was written under a key."""
    cell = DeltaNet(2, 2, gated=False)
    with torch.no_grad():
        eye = torch.eye(2)
        cell.from_input.weight.copy_(torch.cat([eye, eye, 3 * eye, eye]))
        cell.beta.bias.fill_(100)
    _, S_BNKK = cell(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]]), torch.full((1, 1, 2, 2), 7.0))
    torch.testing.assert_close(S_BNKK[0, 0], 3 * torch.eye(2))


def test_slstm_equals_its_equations_without_the_stabiliser(x_BTD: Tensor) -> None:
    cell = scrambled(SLSTM(D, H, N))
    y_BTH, (_, c_BH, n_BH, m_BH) = cell(x_BTD)
    for row in range(B):
        h = c = n = torch.zeros(H, dtype=torch.float64)
        for t in range(T):
            from_input = (cell.from_input.weight @ x_BTD[row, t] + cell.from_input.bias).chunk(4)
            gates = []
            for gate in range(4):
                from_hidden = [cell.from_hidden[number, gate] @ head(h, number) for number in range(N)]
                gates.append(from_input[gate] + torch.cat(from_hidden))
            i, f, z, o = gates[0].exp(), torch.sigmoid(gates[1]), torch.tanh(gates[2]), torch.sigmoid(gates[3])
            c, n = f * c + i * z, f * n + i
            h = o * c / n
            torch.testing.assert_close(y_BTH[row, t], h)
        scale_H = m_BH[row].exp()
        torch.testing.assert_close((c_BH[row] * scale_H, n_BH[row] * scale_H), (c, n))


@pytest.mark.parametrize("size", [-300.0, 300.0])
def test_slstm_stands_gates_whose_exponential_overflows(size: float) -> None:
    cell = SLSTM(D, H, N)
    with torch.no_grad():
        cell.from_input.bias[:H] = size
    y_BTH, state = cell(torch.randn(B, 30, D))
    y_BTH.square().sum().backward()
    assert all(tensor.isfinite().all() for tensor in (y_BTH, *state))
    assert all(parameter.grad.isfinite().all() for parameter in cell.parameters())
    # The normaliser divides by the same exponential: i = exp(-300) at every step gives what i = exp(300) does.
    assert y_BTH.abs().max() > 1e-2


def test_slstm_normaliser_is_at_least_one_after_the_first_step() -> None:
    cell = SLSTM(D, H, N)
    _, (_, _, n_BH, _) = cell(10 * torch.randn(B, 50, D))
    assert (n_BH >= 1 - 1e-6).all()


@pytest.mark.parametrize("build", [MLSTM, DeltaNet], ids=["mlstm", "deltanet"])
@pytest.mark.parametrize("num_steps", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_chunks_of_time_equal_steps(build: Any, num_steps: int) -> None:
    cell = scrambled(build(D, H, N))
    x_BTD = torch.randn(B, num_steps, D, dtype=torch.float64)
    whole = cell(x_BTD)
    outputs, state = [], cell.initial_state(B)
    for x_BD in x_BTD.unbind(1):
        y_BH, state = cell.step(x_BD, state)
        outputs.append(y_BH)
    torch.testing.assert_close((torch.stack(outputs, 1), state), whole)


def test_decays_behind_a_closed_gate_keep_their_digits() -> None:
    log_f = torch.tensor([[[-1e7, -1.0, -2.0, -1e-3]]])
    decays_LL = log_decays(log_f)[0, 0]
    assert decays_LL[3].tolist() == pytest.approx([-3.001, -2.001, -1e-3, 0.0])
    assert (decays_LL.triu(1)[decays_LL == -torch.inf] == -torch.inf).all()
    assert (decays_LL == -torch.inf).sum() == 6


@pytest.mark.parametrize("build", [SLSTM, MLSTM, DeltaNet], ids=["slstm", "mlstm", "deltanet"])
def test_heads_that_do_not_divide_are_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="num_heads=3 does not divide hidden_size=8; choose a divisor"):
        build(D, 8, num_heads=3)


def test_slstm_blocks_start_orthogonal_and_different() -> None:
    blocks = SLSTM(D, H, N).from_hidden.detach().flatten(0, 1)
    for block_KK in blocks:
        torch.testing.assert_close(block_KK @ block_KK.T, torch.eye(K), atol=1e-5, rtol=0)
    assert not torch.equal(blocks[0], blocks[1])
