"""TensorBoard over runs: on this machine alone, with curves, texts and vectors of the runs that were named."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparing.recorded import write_run

from rnntrain.errors import UserError
from rnntrain.watching.board import USUAL_PORT, board
from rnntrain.watching.projector import write_embeddings


def write_events(run: Path) -> Path:
    """Write a run that TensorBoard has something to show of."""
    from torch.utils.tensorboard import SummaryWriter

    write_run(run)
    with SummaryWriter(str(run / "tensorboard")) as writer:
        writer.add_scalar("val/loss", 1.5, 1)
    write_embeddings(run / "tensorboard", {"tokens": (["a", " ", "\n"], np.eye(3))})
    return run


def asked(address: str, route: str, enough: Callable[[Any], bool]) -> Any:
    """Ask until the answer is enough: TensorBoard reads runs in the background."""
    for _ in range(200):
        with urllib.request.urlopen(f"{address}data/{route}") as answer:
            found = json.load(answer)
        if enough(found):
            return found
        time.sleep(0.05)
    return found


@pytest.mark.filterwarnings("ignore")
def test_runs_of_several_places_stand_side_by_side_with_their_vectors(tmp_path: Path) -> None:
    paths = [write_events(tmp_path / place / "run") for place in ("a", "b")]
    with board(paths) as address:
        assert address.startswith("http://127.0.0.1:")
        assert sorted(asked(address, "runs", lambda runs: len(runs) == 2)) == ["run-1/tensorboard", "run/tensorboard"]
        assert len(asked(address, "plugin/projector/runs", lambda runs: len(runs) == 2)) == 2


def test_no_other_machine_is_served(refused) -> None:
    assert "to this machine alone" in refused("board", "--host", "0.0.0.0")


def test_a_folder_without_runs_is_refused(refused, workspace: Path) -> None:
    assert "outputs" in refused("board")


def test_the_next_free_port_is_taken_and_one_that_was_named_is_refused_if_taken(tmp_path: Path) -> None:
    from rnntrain.watching.board import _free_port

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match=f"--port {port}: is taken"),
            board([write_run(tmp_path / "run")], port=port),
        ):
            pass
    assert _free_port("127.0.0.1") >= USUAL_PORT
    with pytest.raises(UserError, match="numbers from 1"), board([tmp_path / "run"], port=70000):
        pass


def test_names_of_vectors_can_be_seen_and_are_one_cell_each(tmp_path: Path) -> None:
    write_embeddings(tmp_path, {"the tokens": ([" ", "\n", "a\tb", "é"], np.zeros((4, 2)))})
    names = (tmp_path / "projector" / "the_tokens" / "names.tsv").read_text(encoding="utf-8")
    assert names == "␣\n\\n\na\\tb\né\n"
    assert len((tmp_path / "projector" / "the_tokens" / "vectors.tsv").read_text().splitlines()) == 4
    assert "the_tokens/vectors.tsv" in (tmp_path / "projector_config.pbtxt").read_text()
