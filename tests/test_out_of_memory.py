"""Memory that runs out ends in one line with the numbers and what to lower."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commandline import TINY, Answer
from training import make_config, write_text

from rnntrain import commands, out_of_memory
from rnntrain.errors import UserError
from rnntrain.out_of_memory import OutOfMemory, memory_explained
from rnntrain.trainer import Trainer

SHORTAGES: dict[str, Any] = {
    "cpu": lambda: torch.empty(1 << 50),
    "cuda": lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
    "python": lambda: (_ for _ in ()).throw(MemoryError()),
}


@pytest.mark.parametrize("kind", SHORTAGES)
def test_step_that_needs_too_much_says_how_much_and_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    backward = Trainer._backward

    def short(self: Trainer, divisor: Any) -> Any:
        sums = backward(self, divisor)
        if self.step == 8:
            SHORTAGES[kind]()
        return sums

    monkeypatch.setattr(Trainer, "_backward", short)
    path = tmp_path / "run"
    with pytest.raises(OutOfMemory) as caught:
        commands.train(make_config(write_text(tmp_path), {"run.dir": str(path)}), quiet=True)
    line = str(caught.value)
    assert "\n" not in line
    expected = {"cpu": "4,503,599.6 GB more", "cuda": "2.00 GiB more", "python": "out of memory in step 9:"}
    assert expected[kind] in line
    assert "out of memory in step 9" in line
    assert "4 sequences of 8 steps in a batch" in line
    assert "parameters" in line
    assert "data.batch_size" in line
    assert "data.bptt" in line
    summary = json.loads((path / "summary.json").read_text())
    assert (summary["status"], summary["reason"], summary["step"]) == ("interrupted", "out of memory", 8)
    monkeypatch.setattr(Trainer, "_backward", backward)
    assert commands.resume(path, quiet=True).summary.step == 20


def test_model_that_does_not_fit_says_so_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"out of memory \(.* more were asked for\); this machine has .* model\.hidden_size"
    ):
        commands.train(
            make_config(write_text(tmp_path), {"model.hidden_size": 1 << 22, "model.embedding_size": 4}), quiet=True
        )
    assert not (tmp_path / "outputs").exists()


def test_limit_of_a_container_counts_where_it_is_less_than_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = out_of_memory._read
    (tmp_path / "job").mkdir()
    monkeypatch.setattr(out_of_memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(
        out_of_memory, "_read", lambda path: "0::/job\n" if path == Path("/proc/self/cgroup") else read(path)
    )
    machine = out_of_memory._memory()
    (tmp_path / "job/memory.max").write_text("5000000\n")
    (tmp_path / "job/memory.current").write_text("3000000\n")
    assert out_of_memory._memory() == (5_000_000, 2_000_000)
    (tmp_path / "job/memory.max").write_text("max\n")
    assert out_of_memory._memory()[0] == machine[0]


def test_any_verb_that_needs_too_much_ends_in_one_line(
    run_cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "check", lambda config: torch.empty(1 << 50))
    answer = run_cli("check", *TINY)
    assert answer.code == 2
    assert answer.err.startswith("rnntrain: error: out of memory (4,503,599.6 GB more were asked for); this machine")


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_explained():
        raise RuntimeError("shape mismatch")
