"""The state of the random generators of PyTorch, Python and NumPy, as a tree that a checkpoint can hold."""

from __future__ import annotations

import random
import sys
from typing import Any

import torch

from rnntrain.checkpoints.checkpoint import CheckpointError

MERSENNE_WORDS = 624


def capture_generators() -> dict[str, Any]:
    """Return the state of every global generator: PyTorch (CPU, and the current CUDA device), Python and NumPy."""
    numpy = sys.modules.get("numpy")
    return {
        "torch": torch.get_rng_state(),
        # Not initialised means not used: the state follows from the seed, and asking for it would start CUDA.
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
        "python": random.getstate(),
        "numpy": None if numpy is None else _numpy_state(numpy.random.get_state(legacy=False)),
    }


def restore_generators(tree: dict[str, Any]) -> list[str]:
    """Set every generator to a captured state; return one line for each that this machine cannot continue.

    Raises:
        CheckpointError: the tree is not one that `capture_generators` returns.
    """
    try:
        torch.set_rng_state(tree["torch"])
        random.setstate(tree["python"])
        if tree["numpy"] is not None:
            _restore_numpy(tree["numpy"])
        return _restore_cuda(tree["cuda"])
    except (
        TypeError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RuntimeError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"the checkpoint holds no valid state of the random generators ({reason})") from error


def _restore_cuda(states: list[torch.Tensor]) -> list[str]:
    """Set the generator of the current CUDA device, which may have another number than when it was captured."""
    if not all(isinstance(state, torch.Tensor) for state in [*states]):
        raise TypeError("the state of a CUDA generator is a tensor")
    if not states:
        return []
    if not torch.cuda.is_available():
        return ["the run drew random numbers on a CUDA device; this machine has none"]
    # Earlier checkpoints hold the states of all devices of their machine, by number.
    number = torch.cuda.current_device() if len(states) > 1 else 0
    if number >= len(states):
        return [f"the run drew random numbers on {len(states)} CUDA devices, none of which was number {number}"]
    torch.cuda.set_rng_state(states[number])
    return []


def _numpy_state(state: dict[str, Any]) -> dict[str, Any]:
    if state["bit_generator"] != "MT19937":
        raise TypeError(f"NumPy's global generator is {state['bit_generator']}; only its own MT19937 can be saved")
    return {
        "key": state["state"]["key"].tolist(),
        "position": int(state["state"]["pos"]),
        "has_gauss": int(state["has_gauss"]),
        "gauss": float(state["gauss"]),
    }


def _restore_numpy(state: dict[str, Any]) -> None:
    import numpy

    # NumPy does not check the position, and reads beyond its table with a bad one.
    if len(state["key"]) != MERSENNE_WORDS or not 0 <= state["position"] <= MERSENNE_WORDS:
        raise ValueError("a NumPy state of the wrong size")
    key = numpy.array(state["key"], dtype=numpy.uint32)
    numpy.random.set_state(("MT19937", key, state["position"], state["has_gauss"], state["gauss"]))
