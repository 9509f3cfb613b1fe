"""Several processes that train one model: who they are and what they tell each other.

They are started by `torchrun`, on one machine or several, and found through its environment variables. Everything here
does nothing where there is one process. Trees travel as JSON and raw tensors, never as pickles.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from rnntrain.cells.base import State, join_rows, map_state
from rnntrain.checkpoints.generators import restore_generators
from rnntrain.checkpoints.state_tree import decode_tree, encode_tree
from rnntrain.checkpoints.tensor_file import read_tensors, tensor_chunks
from rnntrain.data.shards import own_stretch
from rnntrain.errors import Followed, PartnerLost, UserError
from rnntrain.metrics import Metrics
from rnntrain.processes.alone import PLACE
from rnntrain.processes.partners import NOTICE_SECONDS, Partners
from rnntrain.settings import DeviceSettings

Value = TypeVar("Value")

SETTLE_SECONDS = 0.1
_partners = Partners()
_left: list[Any] = []  # groups that this process was in


def rank() -> int:
    """Return the number of this process; 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined(settings: Callable[[], DeviceSettings]) -> Iterator[None]:
    """Be one of the processes that `torchrun` has started within the context; does nothing without it.

    Args:
        settings: gives the section of the config, which is asked for where there are several processes alone.

    Raises:
        UserError: if the environment names no such group, or the processes do not find each other in time.
        PartnerLost: in the context, where an exchange fails because another process has ended or hangs.
    """
    if not _started_by_torchrun() or dist.is_initialized():
        yield
        return
    store = _join(settings())
    try:
        yield
        dist.barrier()
    except RuntimeError as error:
        if not _is_of_exchange(error):
            raise
        lost = _partners.said_of_lost(lambda: _waiting(store), "imed out" in str(error))
        raise PartnerLost(lost) from error
    except BaseException:
        _partners.let_first_go()
        raise
    finally:
        _partners.leave()
        _leave()


def _leave() -> None:
    """Leave the group without ending it, which may never come back.

    The threads of gloo need the interpreter's lock to let go of the last exchange; the end of a group, which comes with
    the last of the models that exchange through it, holds that lock while it waits for these threads.
    """
    _left.append(dist.group.WORLD)
    dist.destroy_process_group()
    time.sleep(SETTLE_SECONDS)  # without the lock: an interpreter that ends now finds idle threads


def _started_by_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def _join(settings: DeviceSettings) -> Any:
    timeout = timedelta(minutes=settings.timeout_minutes)
    number, size = _place()
    backend = "gloo"
    if settings.kind != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(local_device(settings).index)
        backend = "cpu:gloo,cuda:nccl"
    try:
        shared, _, _ = next(rendezvous("env://", number, size, timeout=timeout))
        # What processes that torchrun has replaced left there must not be taken for what the new ones say.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"rnntrain/{attempt}", shared)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=timeout)
        _partners.meet([each["partner"] for each in gather({"partner": _partners.own(number)})], number)
    except (RuntimeError, ValueError) as error:  # torch's own are RuntimeErrors
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(
            f"process {number} of {size}: did not find the others through {where} within "
            f"{settings.timeout_minutes:g} minutes ({_first_line(error)}); start all of them with torchrun"
        ) from error
    return store


def _is_of_exchange(error: RuntimeError) -> bool:
    # What gloo finds wrong comes as a plain RuntimeError that names its source file.
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def _waiting(store: Any) -> list[int]:
    """Say that this process waits for others; return the ranks of all that have said so."""
    try:
        store.set(f"waiting/{rank()}", "")
        time.sleep(NOTICE_SECONDS)
        return [number for number in range(world_size()) if store.check([f"waiting/{number}"])]
    except RuntimeError:  # the store has gone with the process or machine that kept it
        return list(range(world_size()))


def _place() -> tuple[int, int]:
    """Return the number of this process and of all, as the environment has them.

    Raises:
        UserError: it does not make sense.
    """
    missing = [name for name in PLACE if not os.environ.get(name)]
    if missing:
        raise UserError(f"{missing[0]}: not in the environment, where RANK is; start the processes with torchrun")
    values = {name: os.environ[name] for name in PLACE if name != "MASTER_ADDR"}
    for name, value in values.items():
        if not value.isdecimal():
            raise UserError(f"{name}={value}: expected a number; start the processes with torchrun")
    number, size = int(values["RANK"]), int(values["WORLD_SIZE"])
    if number >= size:
        raise UserError(
            f"RANK={number}, WORLD_SIZE={size}: ranks are below the number of processes; start them with torchrun"
        )
    return number, size


def local_device(settings: DeviceSettings) -> DeviceSettings:
    """Return the settings with the CUDA device of this process, one for each process on a machine.

    Raises:
        UserError: if there are fewer devices than processes.
    """
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if settings.kind == "cpu" or not torch.cuda.is_available() or "LOCAL_RANK" not in os.environ:
        return settings
    index = settings.index + local
    if index >= count:
        raise UserError(
            f"device=cuda:{index}: process {local + 1} on this machine finds {count} CUDA devices; start at most "
            f"{max(1, count - settings.index)} with --nproc-per-node, or set device=cpu"
        )
    return replace(settings, index=index)


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


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
