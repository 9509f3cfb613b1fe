"""The errors that end the program with one line instead of a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DONE = 0
OUR_FAULT = 1
USER_MISTAKE = 2
INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: schedulers read it as "try again", which `rnntrain resume` does.


class UserError(Exception):
    """A mistake in what the user gave: one line that names the key or file:line, the value and the fix.

    The command line prints it without a traceback and exits with `USER_MISTAKE`.
    """


class Interrupted(Exception):
    """The run was asked to stop; it has been saved and `rnntrain resume` continues it.

    Attributes:
        reason: the name of the signal that came, or what else asked.
    """

    def __init__(self, message: str = "", reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class Followed(Exception):
    """The first of several processes has said what there is to say; the others end without a word.

    Attributes:
        code: the exit code.
    """

    def __init__(self, code: int = USER_MISTAKE) -> None:
        super().__init__(code)
        self.code = code


class Finished(Exception):
    """The run that the command is to go on with has come to its end: there is nothing left to do."""


class PartnerLost(Exception):
    """Another of the processes that train one model has ended or hangs: one line that says which."""


def closest(word: str, choices: list[str]) -> str:
    """Return ` (did you mean X?)` for the nearest choice, or an empty string where none is near."""
    import difflib

    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


class NonFiniteError(Exception):
    """The loss or gradient of one step is NaN, infinite or a spike; the weights have not been touched by it.

    Attributes:
        step: the step that was not taken.
        record: where the step was written aside for `rnntrain replay`, None where it was not.
    """

    def __init__(
        self,
        step: int,
        loss: float,
        grad_norm: float,
        problem: str = "not finite",
        values: Sequence[str] = (),
        limit: str = "",
    ) -> None:
        super().__init__(step, loss, grad_norm)
        self.step = step
        self.record: Path | None = None
        self._seen = f"step {step}: loss {loss:g}, gradient norm {grad_norm:g}: {problem}"
        self._fix = "Lower optimizer.lr or trainer.grad_clip, or set precision=float32"
        if values:
            self._seen += f"; the data itself is not finite ({'; '.join(values)})"
            self._fix = "Mend the data, or leave such batches out with trainer.on_nonfinite=skip"
        if limit:
            self._fix += f"; {limit} was reached"

    def __str__(self) -> str:
        where = f"; see where it began: rnntrain replay {self.record}" if self.record else ""
        return f"{self._seen}; the weights are those of step {self.step - 1}. {self._fix}{where}"
