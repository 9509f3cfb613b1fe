"""Where a run computes: device, precision, threads, seeds; and what only a GPU can show."""

from __future__ import annotations

import platform
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import CELLS, Notes, differences, make_config, make_experiment, weights, write_text

from rnntrain import commands, using
from rnntrain.device import autocast, choose_device, memory_mebibytes, set_seeds, set_threads
from rnntrain.errors import UserError
from rnntrain.settings import DeviceSettings, Precision

CPU = torch.device("cpu")
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device here")


@pytest.fixture
def _no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def _two_cuda_devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    precision, tf32 = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = tf32


@pytest.fixture
def _threads_again() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def _determinism_again() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


# -- the device ---


@pytest.mark.usefixtures("_no_cuda")
@pytest.mark.parametrize("kind", ["auto", "cpu"])
def test_processor_is_taken_where_there_is_no_cuda(kind: Any) -> None:
    assert choose_device(DeviceSettings(kind), "float32") == CPU


@pytest.mark.usefixtures("_no_cuda")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match=r"device=cuda:0: .*no CUDA device.*set device=cpu or device=auto"):
        choose_device(DeviceSettings("cuda"), "float32")


@pytest.mark.usefixtures("_no_cuda")
@pytest.mark.parametrize("kind", ["auto", "cpu"])
def test_float16_is_refused_on_a_processor(kind: Any) -> None:
    with pytest.raises(UserError, match=r"precision=float16: .*set precision=bfloat16 or device=cuda"):
        choose_device(DeviceSettings(kind), "float16")


@pytest.mark.usefixtures("_two_cuda_devices")
@pytest.mark.parametrize(
    ("kind", "index", "expected"), [("auto", 0, "cuda:0"), ("cuda", 1, "cuda:1"), ("cpu", 0, "cpu")]
)
def test_cuda_is_taken_where_there_is_one(kind: Any, index: int, expected: str) -> None:
    assert choose_device(DeviceSettings(kind, index), "float32") == torch.device(expected)


@pytest.mark.usefixtures("_two_cuda_devices")
def test_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="device=cuda:2: there are 2 CUDA devices"):
        choose_device(DeviceSettings("cuda", 2), "float32")


@pytest.mark.usefixtures("_two_cuda_devices")
@pytest.mark.parametrize(("tf32", "precision"), [(True, "high"), (False, "highest")])
def test_tf32_is_the_users_choice(tf32: bool, precision: str) -> None:
    choose_device(DeviceSettings("cuda", 0, tf32), "float32")
    assert torch.get_float32_matmul_precision() == precision
    assert torch.backends.cudnn.allow_tf32 is tf32


# -- precision, threads, memory ---


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_products_run_in_the_chosen_precision_again_and_again(precision: Precision, dtype: torch.dtype) -> None:
    context, matrix = autocast(CPU, precision), torch.ones(2, 2)
    for _ in range(3):
        with context:
            assert (matrix @ matrix).dtype == dtype
        assert (matrix @ matrix).dtype == torch.float32


@pytest.mark.usefixtures("_threads_again")
def test_threads_are_set_or_left_to_pytorch() -> None:
    assert set_threads(1) == torch.get_num_threads() == 1
    assert set_threads(2) == torch.get_num_threads() == 2
    assert set_threads("auto") == 2


def test_memory_is_that_of_the_process() -> None:
    """With the numbers of /proc, and without it, where the peak stands in for them."""
    line = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert line is not None
    assert memory_mebibytes(CPU) == pytest.approx(int(line[1]) / 1024, rel=0.2)


def test_large_tensors_are_kept_for_the_next_step(python: Callable[[str], str]) -> None:
    """Freed and asked for again, they come from the process, and the system has few further pages to clear."""
    program = """
import resource, torch
from rnntrain.device import keep_freed_memory
keep_freed_memory()
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc can be told to")
    assert int(python(program)) < 1000  # of 16,384 pages


def test_memory_is_told_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    now = memory_mebibytes(CPU)

    def refuse(*args: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", refuse)
    assert memory_mebibytes(CPU) > 0.8 * now


# -- seeds ---


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


@pytest.mark.usefixtures("_determinism_again")
@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_seed_sets_every_generator(seed: int) -> None:
    set_seeds(seed, deterministic=False)
    first = draws()
    assert draws() != first
    set_seeds(seed, deterministic=False)
    assert draws() == first
    set_seeds(seed + 1, deterministic=False)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


@pytest.mark.usefixtures("_determinism_again")
def test_deterministic_mode_is_switched_on_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for deterministic in (True, False):
        set_seeds(0, deterministic)
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        assert torch.backends.cudnn.deterministic is deterministic


# -- on a GPU ---


@on_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_trains_on_cuda_as_on_a_processor(tmp_path: Path, cell: str, precision: str) -> None:
    """The losses of the first steps agree within the precision, and they fall."""
    path, losses = write_text(tmp_path), {}
    for device, its_precision in (("cpu", "float32"), ("cuda", precision)):
        notes = Notes()
        changes = {"device": {"kind": device, "tf32": False}, "precision": its_precision, "trainer.max_steps": 60}
        trainer = make_experiment(path, changes, cell=cell).trainer
        trainer.watcher = notes
        trainer.fit()
        assert {parameter.device.type for parameter in trainer.parameters} == {device}
        losses[device] = [float(result.loss_sum / result.count) for result in notes.results]
    assert losses["cuda"][:10] == pytest.approx(losses["cpu"][:10], rel=1e-4 if precision == "float32" else 0.05)
    assert losses["cuda"][-1] < 0.8 * losses["cuda"][0]


@on_cuda
@pytest.mark.cuda
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_resume_on_cuda_is_exact(tmp_path: Path, cell: str, precision: str, accumulate: int) -> None:
    """With carried state, dropout and an average, in deterministic mode."""
    path = write_text(tmp_path, 120)
    changes = {
        "device": {"kind": "cuda"},
        "precision": precision,
        "deterministic": True,
        "model.num_layers": 2,
        "model.dropout": 0.2,
        "trainer.accumulate": accumulate,
        "trainer.average_decay": 0.9,
    }
    whole = make_experiment(path, changes, cell=cell).trainer
    states: list[dict[str, Any]] = []
    stop = lambda trainer: lambda: "SIGTERM" if trainer.step == 7 else None  # noqa: E731
    try:
        whole.fit()
        first = make_experiment(path, changes, cell=cell).trainer
        first.fit(stop(first))
        saved, generators = first.state_dict(), torch.cuda.get_rng_state_all()
        second = make_experiment(path, changes, cell=cell).trainer
        second.load_state_dict(saved)
        torch.cuda.set_rng_state_all(generators)
        second.fit()
        states = [{k: v for k, v in each.state_dict().items() if k != "seconds"} for each in (whole, second)]
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
    assert differences(*states) == []


@on_cuda
@pytest.mark.cuda
def test_run_of_cuda_is_resumed_and_read_on_either_device(tmp_path: Path) -> None:
    """Through a checkpoint: resumed on CUDA, with its carried state; then loaded, and sampled, on a processor."""
    path, run = write_text(tmp_path), tmp_path / "run"
    changes = {"device": {"kind": "cuda", "tf32": False}, "run.dir": str(run), "trainer.max_steps": 8}
    commands.train(make_config(path, changes), quiet=True)
    trained = commands.resume(run, ["trainer.max_steps=16"], quiet=True)
    assert trained.summary.step == 16
    on_cpu = commands.resume(run, ["trainer.max_steps=20", "device=cpu"], quiet=True)
    assert {parameter.device.type for parameter in on_cpu.experiment.model.parameters()} == {"cpu"}
    texts = {
        device: using.load(run, [f"device={device}"]).sample("the", length=20, temperature=0)
        for device in ("cpu", "cuda")
    }
    assert texts["cpu"] == texts["cuda"]


@on_cuda
@pytest.mark.cuda
def test_memory_on_cuda_is_what_was_allocated(tmp_path: Path) -> None:
    trainer = make_experiment(write_text(tmp_path), {"device": {"kind": "cuda"}}).trainer
    trainer.train_step()
    used = memory_mebibytes(torch.device("cuda", 0))
    assert sum(weight.numel() for weight in weights(trainer.model)) * 4 / 2**20 < used < 2000
