"""A Slurm of two nodes on this machine, in a folder of its own, from what Debian and others install.

    apt-get install slurm-wlm munge                          # slurmdbd and mariadb-server, for `accounts`

It needs no root: all daemons and jobs are processes of whoever starts it. Nodes are daemons beside each other, whose
cores and memory are only names. What it starts it ends; nothing outside of its folder is touched.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
NODES = ("n1", "n2")
PATIENCE_SECONDS = 600.0
SOON_SECONDS = 60.0
CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
SlurmdTimeout=15
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType={storage}
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
MinJobAge=86400
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=64000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=64000
PartitionName=low Nodes=n[1-2] Default=YES PriorityTier=1 GraceTime=0 State=UP
PartitionName=grace Nodes=n[1-2] PriorityTier=1 GraceTime=30 State=UP
PartitionName=high Nodes=n[1-2] PriorityTier=10 PreemptMode=OFF State=UP
"""
ACCOUNTED = """\
accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket"""
ACCOUNTS = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={port}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
"""


def missing() -> list[str]:
    """Return the programs that are needed and not there."""
    return [name for name in NEEDED if _program(name) is None]


class Slurm:
    """A cluster; a context, since it ends with it.

    Args:
        folder: for its files; empty.
        accounts: keep accounts, as most clusters do, in a database of its own; else `sacct` knows nothing.
    """

    def __init__(self, folder: Path, accounts: bool = False) -> None:
        self.folder = folder
        self._accounts = accounts
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        for name in [name for name in self.environment if name.startswith(("SLURM_JOB", "SLURMD_", "SUBMITIT_"))]:
            del self.environment[name]

    def __enter__(self) -> Slurm:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    # -- what is asked of it ---

    def ask(self, *command: str, check: bool = True) -> str:
        """Return what one of Slurm's commands prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=SOON_SECONDS)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """Hand in a script; return the number of the job."""
        command = ["sbatch", "--parsable", *options]
        done = subprocess.run(command, env=self.environment, input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def field(self, job: str, name: str) -> str:
        """Return what `scontrol show job` says under a name."""
        words = self.ask("scontrol", "show", "job", "--oneliner", job).split()
        return next(word.partition("=")[2] for word in words if word.startswith(f"{name}="))

    def wait_for_end(self, job: str) -> str:
        """Wait until a job has ended for good; return its state."""
        going = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "PREEMPTED", "REQUEUED")
        return wait_for(lambda: (state := self.field(job, "JobState")) not in going and state, f"the end of job {job}")

    def preempt(self, node: str) -> None:
        """Take a node from the jobs of lower partitions, for a moment."""
        options = ["--partition=high", "--exclusive", f"--nodelist={node}", "--output=/dev/null"]
        job = self.submit("#!/bin/bash\nsleep 1\n", *options)
        assert self.wait_for_end(job) == "COMPLETED"

    def kill_node(self, node: str) -> None:
        """Let a machine lose power, as far as Slurm can see: its daemon, and all that it has started, are gone."""
        self._daemons.pop(node).kill()
        for process in self._steps(node):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def restart_node(self, node: str) -> None:
        self._start_node(node)
        self.ask("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        self._wait_for_nodes()

    def _steps(self, node: str) -> list[int]:
        """Return the processes of jobs on a node; first those that would tell Slurm of the end of the others."""
        keepers, found = [], []
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if not folder.name.isdecimal() or folder.name == str(os.getpid()):
                    continue
                variables = (folder / "environ").read_bytes().split(b"\0")
                own = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode() in variables
                if own and f"SLURMD_NODENAME={node}".encode() in variables:
                    found.append(int(folder.name))
                    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                    if "slurmstepd" in os.readlink(f"/proc/{parent}/exe"):
                        keepers.append(int(parent))
        return [*keepers, *found]

    # -- its daemons ---

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={self.folder}/munge.{ending}" for option, ending in files.items()]
        self._daemon("munged", "--foreground", *options)
        self._wait_for_daemon("munged", (self.folder / "munge.socket").exists)
        ports = free_ports(4)
        storage = "accounting_storage/none"
        if self._accounts:
            self._start_accounts(ports[3])
            storage = ACCOUNTED.format(folder=self.folder, port=ports[3])
        host = socket.gethostname().partition(".")[0]
        values: dict[str, Any] = {"folder": self.folder, "user": getpass.getuser(), "host": host}
        config = CONFIG.format(**values, ports=ports, storage=storage)
        (self.folder / "slurm.conf").write_text(config, encoding="utf-8")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self._start_node(node)
        self._wait_for_nodes()

    def _start_node(self, node: str) -> None:
        self._daemon("slurmd", "-D", "-N", node, name=node)

    def _wait_for_nodes(self) -> None:
        command = ["sinfo", "--noheader", "--Node", "--partition=low", "--format=%T"]
        self._wait_for_daemon("slurmctld", lambda: self.ask(*command, check=False).split() == ["idle"] * 2)

    def _start_accounts(self, port: int) -> None:
        data, user = self.folder / "database", getpass.getuser()
        common = ["--no-defaults", f"--datadir={data}", f"--user={user}"]
        self.ask("mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db")
        socket_path = self.folder / "database.socket"
        self._daemon("mariadbd", *common, f"--socket={socket_path}", "--skip-networking")
        self._wait_for_daemon("mariadbd", socket_path.exists)
        grant = f"CREATE USER IF NOT EXISTS '{user}'@'localhost'; GRANT ALL ON *.* TO '{user}'@'localhost';"
        self.ask("mariadb", "--no-defaults", "-uroot", f"--socket={socket_path}", "-e", grant)
        config = self.folder / "slurmdbd.conf"
        config.write_text(ACCOUNTS.format(folder=self.folder, port=port, user=user), encoding="utf-8")
        config.chmod(0o600)
        self.environment["MYSQL_UNIX_PORT"] = str(socket_path)
        self._daemon("slurmdbd", "-D")
        self._wait_for_daemon("slurmdbd", lambda: _listens(port))

    def _daemon(self, program: str, *options: str, name: str | None = None) -> None:
        path = _program(program)
        assert path is not None, f"{program} is not installed"
        output = (self.folder / f"{name or program}.out").open("ab")
        with output:
            self._daemons[name or program] = subprocess.Popen(
                [path, *options], env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def _wait_for_daemon(self, name: str, answers: Callable[[], bool]) -> None:
        wait_for(lambda: answers() or self._daemons[name].poll() is not None, name, SOON_SECONDS)
        last = (self.folder / f"{name}.out").read_text(errors="replace").strip().splitlines()[-1:]
        assert self._daemons[name].poll() is None, f"{name} has ended: {''.join(last)}"

    def _end(self) -> None:
        if "slurmctld" in self._daemons:
            self.ask("scancel", f"--user={getpass.getuser()}", check=False)
            with suppress(AssertionError):
                wait_for(lambda: not self.ask("squeue", "-h", check=False), "the end of all jobs", SOON_SECONDS)
        for node in NODES:
            for process in self._steps(node):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(SOON_SECONDS)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the first value of `condition` that is true."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.2)
    return found


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
