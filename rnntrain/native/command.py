"""The verb `rnntrain build`; imports torch only when it is called."""

from __future__ import annotations

import time

from rnntrain.errors import UserError


def build_lines(again: bool = False) -> list[str]:
    """Compile the kernels and return what is printed of it.

    Raises:
        UserError: there is no compiler, or it failed; training goes on without.
    """
    from rnntrain.native.library import BuildError, build, library_path

    if library_path().is_file() and not again:
        return [f"The kernels are built: {library_path()}", "`rnntrain build --again` compiles them once more."]
    started = time.monotonic()
    try:
        path = build(again)
    except BuildError as error:
        raise UserError(f"build: {error}; training works without, on PyTorch's own kernels") from error
    seconds = time.monotonic() - started
    return [f"Built {path} in {seconds:.0f} s.", "Training takes them from now on; kernels=plain does without."]
