"""How several processes meet that train one model, and part: the group, the device of each, and what ends it early."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from rnntrain.errors import Followed, PartnerLost, UserError
from rnntrain.processes.alone import PLACE, started_by_torchrun
from rnntrain.processes.distributed import gather, rank, world_size
from rnntrain.processes.partners import NOTICE_SECONDS, Partners
from rnntrain.settings import DeviceSettings

PARTING_SECONDS = 0.1
_partners = Partners()
_left: list[Any] = []  # groups that this process was in


@contextmanager
def joined(settings: Callable[[], DeviceSettings]) -> Iterator[None]:
    """Be one of the processes that `torchrun` has started within the context; does nothing without it.

    Args:
        settings: gives the section of the config, which is asked for where there are several processes alone.

    Raises:
        UserError: if the environment names no such group, the processes do not find each other in time, or `settings`
            does in any of them; then in the first that it is said of, and of which.
        Followed: in the others, where one of them has made a mistake.
        PartnerLost: in the context, where an exchange fails because another process has ended or hangs.
    """
    if not started_by_torchrun() or dist.is_initialized():
        yield
        return
    number, size = _place()
    mistake, device, found = None, None, DeviceSettings(kind="cpu")
    try:
        found = settings()
        device = _take_device(found)
    except UserError as error:  # told to the others, which would wait for this process in vain
        mistake = str(error)
    store, lost = _join(found, number, size), None
    try:
        _meet({"partner": _partners.own(number), "device": device, "mistake": mistake}, number)
        yield
        dist.barrier()
    except RuntimeError as error:
        if not _is_of_exchange(error):
            raise
        late = re.search(r"time(d |-)?out", str(error), re.IGNORECASE) is not None
        lost = _partners.said_of_lost(lambda: _waiting(store), late)
        raise PartnerLost(lost) from error
    except BaseException:
        _partners.let_first_go()
        raise
    finally:
        _partners.leave(has_last_words=lost is not None)
        _leave()


def _leave() -> None:
    """Leave the group without ending it, which may never come back.

    The threads of gloo need the interpreter's lock to let go of the last exchange; the end of a group, which comes with
    the last of the models that exchange through it, holds that lock while it waits for these threads.
    """
    _left.append(dist.group.WORLD)
    dist.destroy_process_group()
    time.sleep(PARTING_SECONDS)  # without the lock: an interpreter that ends now finds idle threads


def _take_device(settings: DeviceSettings) -> str | None:
    """Make the CUDA device of this process the one that its exchanges use; return its name, None without one."""
    if not _on_cuda(settings):
        return None
    index = local_device(settings).index
    torch.cuda.set_device(index)
    return str(getattr(torch.cuda.get_device_properties(index), "uuid", None) or f"{index} of {os.getpid()}")


def _on_cuda(settings: DeviceSettings) -> bool:
    return settings.kind != "cpu" and torch.cuda.is_available()


def _join(settings: DeviceSettings, number: int, size: int) -> Any:
    timeout = timedelta(minutes=settings.timeout_minutes)
    # What lies on the CPU goes through gloo, also what the processes tell each other; so does the barrier.
    backend = "cpu:gloo,cuda:nccl" if _on_cuda(settings) else "gloo"
    try:
        shared, _, _ = next(rendezvous("env://", number, size, timeout=timeout))
        # What processes that torchrun has replaced left there must not be taken for what the new ones say.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"rnntrain/{attempt}", shared)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=timeout)
    except (RuntimeError, ValueError) as error:  # torch's own are RuntimeErrors
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(
            f"process {number} of {size}: did not find the others through {where} within "
            f"{settings.timeout_minutes:g} minutes ({_first_line(error)}); start all of them with torchrun"
        ) from error
    return store


def _meet(own: dict[str, Any], number: int) -> None:
    """Tell the others who this process is; begin to look after them.

    Raises:
        UserError: in the first process, if one has made a mistake or two use one CUDA device.
        Followed: in the others.
    """
    told = gather(own)
    _partners.meet([each["partner"] for each in told], number)
    mistakes = [
        f"process {place}: {each['mistake']}" if place else each["mistake"]
        for place, each in enumerate(told)
        if each["mistake"]
    ]
    devices = [each["device"] for each in told]
    for place, device in enumerate(devices):
        if device is not None and (first := devices.index(device)) < place:
            mistakes.append(
                f"processes {first} and {place} use the same CUDA device: start one torchrun a machine, with "
                "--nproc-per-node for its devices, or set device=cpu"
            )
    if mistakes and number:
        raise Followed
    if mistakes:
        raise UserError(mistakes[0])


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


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
