"""The errors that end the program with one line instead of a traceback."""

DONE = 0
OUR_FAULT = 1
USER_MISTAKE = 2
INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: schedulers read it as "try again", which `rnntrain resume` does.


class UserError(Exception):
    """A mistake in what the user gave: one line that names the key or file:line, the value and the fix.

    The command line prints it without a traceback and exits with `USER_MISTAKE`.
    """


class Interrupted(Exception):
    """The run was asked to stop; it has been saved and `rnntrain resume` continues it."""


def closest(word: str, choices: list[str]) -> str:
    """Return ` (did you mean X?)` for the nearest choice, or an empty string where none is near."""
    import difflib

    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


class NonFiniteError(Exception):
    """The gradient of one step is NaN or infinite; the weights have not been touched by it."""

    def __init__(self, step: int, loss: float, grad_norm: float) -> None:
        super().__init__(
            f"step {step}: loss {loss:g}, gradient norm {grad_norm:g}: not finite; the weights are those of step "
            f"{step - 1}. Lower optimizer.lr or trainer.grad_clip, or set precision=float32"
        )
