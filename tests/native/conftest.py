"""The kernels, built once and kept between runs; without a compiler, what needs them is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rnntrain.native import library


@pytest.fixture(scope="session")
def _built_kernels(request: pytest.FixtureRequest) -> Path:
    """Return the cache in which the kernels are built."""
    cache: Path = request.config.cache.mkdir("kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        try:
            library.build()
        except library.BuildError as error:
            pytest.skip(f"the kernels do not build here: {error}")
    return cache


@pytest.fixture
def _native(_built_kernels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the native path within a test, on as many threads as it sets."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(_built_kernels))
    threads = torch.get_num_threads()
    library.choose("native")
    yield
    library.choose("plain")
    torch.set_num_threads(threads)
