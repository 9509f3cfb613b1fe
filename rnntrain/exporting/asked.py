"""What the user asked an export for, checked before torch is imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from rnntrain.errors import UserError

Format = Literal["onnx", "torch"]
Precision = Literal["auto", "float32", "float64"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}


def target_of(run: Path, out: Path | None, form: Format, int8: bool, precision: Precision = "auto") -> Path:
    """Return the file to write: the one that was asked for, or `model.onnx` and the like in the run's folder.

    Raises:
        UserError: if the options do not go together, or the file has another ending.
    """
    if int8 and form == "torch":
        raise UserError("--int8: only ONNX files have weights of eight bits; use --format onnx")
    if int8 and precision == "float64":
        raise UserError("--int8: leaves the rest in float32; leave --precision out")
    if out is None:
        return run / f"{'model.int8' if int8 else 'model'}{SUFFIXES[form]}"
    if out.suffix != SUFFIXES[form]:
        raise UserError(f"--out {out}: a file of --format {form} ends in {SUFFIXES[form]}")
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; name a file, such as {out / ('model' + SUFFIXES[form])}")
    for folder in out.parents:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--out {out}: {folder} is a file and no folder; choose another place")
    return out


def require_onnx() -> None:
    """Refuse an export to ONNX where its packages are missing.

    Raises:
        UserError: with the line that installs them.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(f"--format onnx needs {', '.join(missing)}: pip install 'rnntrain[onnx]'")
