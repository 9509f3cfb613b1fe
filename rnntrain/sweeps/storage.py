"""Where Optuna keeps a sweep's points and values: a journal in the sweep's folder, or any database by its URL."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnntrain.configuring.checking import shown
from rnntrain.errors import UserError

if TYPE_CHECKING:
    from rnntrain.sweeps.plan import Plan

INSTALL = "pip install 'rnntrain[sweep]'"
JOURNAL = "journal.log"
PACKAGES = {"MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary"}  # of drivers that are named otherwise
SQLITE_TIMEOUT_SECONDS = 20.0  # for another process to be done with the file


def import_optuna() -> Any:
    """Import Optuna with its talk turned off.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError(f"sweep: needs Optuna; install it: {INSTALL}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def storage_errors(url: str | None) -> Iterator[None]:
    """Turn what a storage refuses into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        module = type(error).__module__.partition(".")[0]
        import optuna

        storage = (optuna.exceptions.StorageInternalError, optuna.exceptions.UpdateFinishedTrialError)
        if not isinstance(error, (OSError, *storage)) and module not in ("sqlalchemy", "redis"):
            raise
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:200]
        raise UserError(f"sweep.storage={without_password(url or JOURNAL)}: cannot be used: {reason}") from error


def open_storage(plan: Plan) -> Any:
    url = plan.settings.storage
    if url is None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        path = plan.folder / JOURNAL
        lock: Any = JournalLock(path)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    from optuna.storages import RDBStorage

    arguments = {"connect_args": {"timeout": SQLITE_TIMEOUT_SECONDS}} if url.startswith("sqlite") else {}
    try:
        return RDBStorage(url, engine_kwargs=arguments)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"sweep.storage={shown(without_password(url))}: {' '.join(str(error).split())[:200]}"
        ) from error


def check_url(url: str) -> None:
    """Refuse a URL of no database, and one whose driver is not installed.

    Raises:
        UserError: says what to write or to install.
    """
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError:  # as Optuna then is, which comes to be said
        return
    text = shown(without_password(url))
    try:
        make_url(url).get_dialect().import_dbapi()
    except ArgumentError as error:
        raise UserError(
            f"sweep.storage={text}: is no URL of a database; write sqlite:///FILE, mysql://… or postgresql://…, or "
            "leave it out for a journal in the sweep's folder"
        ) from error
    except ImportError as error:
        package = PACKAGES.get(str(error.name), error.name)
        raise UserError(f"sweep.storage={text}: needs a driver; install it: pip install {package}") from error


def without_password(url: str) -> str:
    """Return a URL as it may be printed and kept in a log."""
    return re.sub(r"(://[^/@:]*):[^@]*@", r"\1:***@", url)


class JournalLock:
    """Lets one process at a time write an Optuna journal. Optuna's own lock outlives a killed process by half a minute.

    A last line without an end was torn by power that failed, and would make all that follows unreadable: it is cut off.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        path = self._journal.with_suffix(".lock")
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        _cut_torn_line(self._journal)
        return True

    def release(self) -> None:
        assert self._descriptor is not None
        os.close(self._descriptor)
        self._descriptor = None


def _cut_torn_line(path: Path) -> None:
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(max(0, size - (1 << 20)))
            tail = file.read()
            file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
