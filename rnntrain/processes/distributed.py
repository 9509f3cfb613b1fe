"""Several processes that train one model: who they are and what they tell each other.

They are started by `torchrun`, on one machine or several, and found through its environment variables. Everything here
does nothing where there is one process. Trees travel as JSON and raw tensors, never as pickles.
"""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rnntrain.cells.base import State, join_rows, map_state
from rnntrain.checkpoints.generators import restore_generators
from rnntrain.checkpoints.state_tree import decode_tree, encode_tree
from rnntrain.checkpoints.tensor_file import read_tensors, tensor_chunks
from rnntrain.data.shards import own_stretch
from rnntrain.errors import Followed, UserError
from rnntrain.metrics import Metrics

Value = TypeVar("Value")

LOOK_SECONDS = 0.1
SEEN_SECONDS = 5.0  # in which a shared folder shows on one machine what another has made


def rank() -> int:
    """Return the number of this process; 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


# -- gradients ---


def parallel(model: nn.Module) -> nn.Module:
    """Return a module that gives what `model` gives, and in whose backward pass gradients are added over all processes.

    They are added, not averaged: each process differentiates its part of the mean over the whole batch.
    """
    if world_size() == 1:
        return model
    with warnings.catch_warnings():
        # Buffers are constants here. How that is said changes with torch 2.13, which warns of the old way.
        warnings.simplefilter("ignore", FutureWarning)
        module = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)
    module.register_comm_hook(None, lambda _, bucket: _add_bucket(bucket))  # torch knows no postponed annotations
    return module


def _add_bucket(bucket: Any) -> torch.futures.Future[Tensor]:
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    future: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return future


def exchanging(module: nn.Module, gradients: bool) -> AbstractContextManager[Any]:
    """Return the context in which a batch is trained on; without `gradients`, its gradients stay in this process."""
    if gradients or not isinstance(module, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


# -- what is told now and then ---


def gather(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the trees of all processes, by rank; of one process, its own. Tensors come back on the CPU."""
    if world_size() == 1:
        return [tree]
    text, tensors = encode_tree(tree)
    data = b"".join(bytes(chunk) for chunk in tensor_chunks(tensors))
    sizes = [torch.zeros(2, dtype=torch.int64) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(text), len(data)]))
    most = max(int(size.sum()) for size in sizes)
    own = torch.zeros(most, dtype=torch.uint8)
    own[: len(text) + len(data)] = torch.frombuffer(bytearray(text + data), dtype=torch.uint8)
    parts = [torch.empty(most, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(parts, own)
    return [_tree_of(part, *size.tolist()) for part, size in zip(parts, sizes, strict=True)]


def _tree_of(data: Tensor, text_size: int, tensors_size: int) -> dict[str, Any]:
    tensors = read_tensors(data[text_size : text_size + tensors_size].clone())
    return decode_tree(data[:text_size].numpy().tobytes(), tensors)


def from_first(function: Callable[[], Value]) -> Value:
    """Return what `function` gives in the first process, to all of them: plain JSON values.

    Raises:
        UserError: in the first process, where `function` does.
        Followed: in the others, where it does.
    """
    if rank() == 0:
        try:
            value = function()
        except BaseException:
            gather({})
            raise
        gather({"value": value})
        return value
    told = gather({})[0]
    if "value" not in told:
        raise Followed
    found: Value = told["value"]
    return found


def agreed(reason: str | None) -> str | None:
    """Return the reason of the lowest process that has one, to all."""
    return next((found for each in gather({"reason": reason}) if (found := each["reason"])), None)


def check_alike(what: dict[str, Any]) -> None:
    """Compare plain values that must be the same in all processes, such as hashes of the data.

    Raises:
        UserError: in the first process: names the first that differs, and where.
        Followed: in the others.
    """
    everywhere = gather(what)
    for number, other in enumerate(everywhere):
        for name, value in everywhere[0].items():
            if other.get(name) != value:
                if rank():
                    raise Followed
                raise UserError(
                    f"process {number} has another {name} than process 0 ({other.get(name)} and {value}); "
                    "give all machines the same"
                )


def check_seen(folder: Path) -> None:
    """Check that all processes see a folder which the first has made.

    Raises:
        UserError: in the first process: names one that does not.
        Followed: in the others.
    """
    until = time.monotonic() + SEEN_SECONDS
    while rank() and not folder.is_dir() and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    told = gather({"seen": folder.is_dir(), "host": socket.gethostname()})
    blind = [f"process {number} on {each['host']}" for number, each in enumerate(told) if not each["seen"]]
    if blind and rank():
        raise Followed
    if blind:
        raise UserError(
            f"{blind[0]}: does not see {folder}; set run.root to a folder that all machines share, under one path"
        )


def copy_from_first(tensors: Sequence[Tensor]) -> None:
    """Give the tensors of all processes the values of the first's."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


# -- state and metrics ---


def rows_of_all(states: Sequence[State]) -> State:
    """Return the state of a whole batch from those of the processes' rows; a process may have none."""
    own = [state for state in states if state is not None]
    return join_rows(own) if own else None


def restore_own_generators(tree: dict[str, Any]) -> list[str]:
    """Set the generators to what a checkpoint says of this process; return a line for each that cannot go on.

    Where it was written by another number of processes, each draws on from its own seed.
    """
    by_process = tree.get("generators_by_process", [tree["generators"]])
    return restore_generators(by_process[rank()]) if len(by_process) == world_size() else []


def own_rows(state: State) -> State:
    """Return this process's rows of the state of a whole batch; one of the others' where it has none."""
    if state is None or world_size() == 1:
        return state

    def part(whole: Tensor) -> Tensor:
        rows = own_stretch(len(whole), rank(), world_size()) or range(1)
        return whole[rows.start : rows.stop].clone()

    return map_state(part, state)


def add_up_metrics(metrics: Metrics) -> None:
    """Let the metrics of each process hold what all have seen."""
    if world_size() == 1:
        return
    sums = metrics.sums()
    everywhere = gather({"sums": [each.total for each in sums]})
    for number, each in enumerate(sums):
        each.total = 0.0
        for other in everywhere:
            each.add(other["sums"][number])
