"""TensorBoard over runs, for this machine alone."""

from __future__ import annotations

import importlib.util
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rnntrain.errors import UserError
from rnntrain.runs.run import find_runs, open_run

LOOPBACK = ("127.0.0.1", "localhost", "::1")
USUAL_PORT = 6006
PORTS_TRIED = 50
SEARCH_DEPTH = 5


@contextmanager
def board(paths: Sequence[Path], host: str = "127.0.0.1", port: int | None = None) -> Iterator[str]:
    """Serve TensorBoard within the context, which gets its address.

    Args:
        port: None for the first free one from `USUAL_PORT` on.

    Raises:
        UserError: no run is there, the host is not this machine, or the port is taken.
    """
    if host not in LOOPBACK:
        raise UserError(
            f"--host {host}: TensorBoard asks nobody who they are, so it is served to this machine alone; from another "
            f"one use a tunnel: ssh -L {USUAL_PORT}:localhost:{USUAL_PORT} USER@MACHINE"
        )
    for path in paths:
        if not find_runs(path, SEARCH_DEPTH):
            open_run(path)  # within a run, or says what runs there are
    chosen = _free_port(host) if port is None else _check_port(host, port)
    with _one_folder(paths) as folder:
        yield _serve(folder, host, chosen)


def _serve(folder: Path, host: str, port: int) -> str:
    import logging

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from tensorboard import program

    server = program.TensorBoard()
    fast = "true" if importlib.util.find_spec("tensorboard_data_server") else "false"  # "auto" prints a note
    argv = ["tensorboard", "--logdir", str(folder), "--host", host, "--port", str(port), "--load_fast", fast]
    server.configure(argv=argv)
    return str(server.launch())


@contextmanager
def _one_folder(paths: Sequence[Path]) -> Iterator[Path]:
    """Give one folder that holds all of them: TensorBoard reads one."""
    if len(paths) == 1:
        yield paths[0]
        return
    with tempfile.TemporaryDirectory(prefix="rnntrain-board-") as temporary:
        for number, path in enumerate(paths):
            place = path.resolve()
            name = place.name if not os.path.lexists(Path(temporary) / place.name) else f"{place.name}-{number}"
            (Path(temporary) / name).symlink_to(place)
        yield Path(temporary)


def _free_port(host: str) -> int:
    for port in range(USUAL_PORT, USUAL_PORT + PORTS_TRIED):
        if _is_free(host, port):
            return port
    raise UserError(f"ports {USUAL_PORT} to {USUAL_PORT + PORTS_TRIED - 1} are taken; name another with --port")


def _check_port(host: str, port: int) -> int:
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: ports are numbers from 1 to 65535")
    if not _is_free(host, port):
        raise UserError(f"--port {port}: is taken; name another, or leave --port out for the next free one")
    return port


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with suppress(OSError), socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return True
    return False
