"""Opens the port and serves until it is told to stop."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from rnntrain.errors import UserError

if TYPE_CHECKING:
    from rnntrain.serving.limits import Limits
    from rnntrain.using import Loaded


def check_installed() -> None:
    """Refuse to begin without the packages of the extra, before the model is loaded.

    Raises:
        UserError: names what to install.
    """
    from importlib.util import find_spec

    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise UserError(f"serve: needs {' and '.join(missing)}; pip install 'rnntrain[serve]'")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; port 0 takes a free one.

    Raises:
        UserError: the address is not of this machine, or the port is taken.
    """
    if not 0 <= port <= 65535:  # getaddrinfo would take the remainder
        raise UserError(f"--port {port}: expected a number from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as opened:
            bound = opened.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            opened.pop_all()
            return bound
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"--host {host} --port {port}: {said.lower()}; choose another port, or --port 0 for a free one"
        ) from error


def serve(run: Loaded, limits: Limits, bound: socket.socket, *, only_local: bool) -> None:
    """Serve a trained model on a bound socket until a signal comes.

    Args:
        only_local: the address is one of the loopback.
    """
    import uvicorn

    from rnntrain.serving.api import Service, application

    service = Service(run, limits, only_local)
    config = uvicorn.Config(
        application(service),
        log_level="error",
        access_log=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=3,
        server_header=False,
        lifespan="off",
        http="h11",  # which bounds the headers of a request; the other that uvicorn may find installed does not
        ws="none",
        proxy_headers=False,
    )
    bound.listen(config.backlog)  # before the address is said: who reads it may connect at once
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Serving {run.run.path} at http://{shown}:{port}/ (Ctrl-C stops)", flush=True)
    if not only_local:
        print(
            f"rnntrain: warning: {host} can be reached by others, and anybody who reaches it can ask; "
            "put a server with passwords and TLS before it",
            file=sys.stderr,
        )
    with service.worker, suppress(KeyboardInterrupt):  # uvicorn has closed what was open, and passes the signal on
        uvicorn.Server(config).run(sockets=[bound])
