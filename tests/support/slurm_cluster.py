"""A Slurm cluster of two nodes on this machine: Debian's munged, slurmctld and slurmd, on loopback, in a folder of their own.

Nothing of the machine's own Slurm is read or written, and nothing is left running. Each node claims two cores, there or not.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from commands import PATIENCE
from ports import free_ports

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = ("first", "second")
PATH = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
"""Daemons lie where only root looks by default."""


class SlurmCluster:
    """Started when made; ``environment`` tells Slurm's commands where it is."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in DAEMONS if shutil.which(name, path=PATH) is None]
        assert not missing, (
            f"these tests run a Slurm cluster, and {', '.join(missing)} is not installed: "
            "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge"
        )
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []
        for name in ("munge", "state", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        self._configure()
        with ExitStack() as failed:
            failed.callback(self.close)
            self._start()
            failed.pop_all()

    def _configure(self) -> None:
        host, me = socket.gethostname().partition(".")[0], getpass.getuser()
        control, *ports = free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=4000 State=UNKNOWN"
            for node, port in zip(NODES, ports, strict=True)
        )
        # Requeued jobs start again when their credentials have expired: in two minutes by default.
        (self.folder / "slurm.conf").write_text(f"""
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser={me}
SlurmdUser={me}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={self.folder}/munge/socket,cred_expire=5
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool-%n
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
JobRequeue=1
KillWait=2
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
""")

    def _start(self) -> None:
        munge = self.folder / "munge"
        (munge / "key").write_bytes(secrets.token_bytes(1024))
        (munge / "key").chmod(0o600)
        munge.chmod(0o755)  # else others could not reach the socket, which munged checks
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{what}={munge / name}" for what, name in files.items()]
        self._daemon("munged", "munged", "--foreground", "--force", *options)
        _wait_for((munge / "socket").exists, "munged")
        self._daemon("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self._daemon(f"slurmd-{node}", "slurmd", "-D", "-N", node)
        _wait_for(lambda: self.ask("sinfo", "--noheader", "--format", "%T", check=False).split() == ["idle"], "the nodes")

    def _daemon(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.environment, "PATH": PATH},
                    process_group=0,
                    preexec_fn=_die_with_tests,  # noqa: PLW1509 - the tests start no threads
                )
            )

    def ask(self, *command: str, check: bool = True) -> str:
        """What one of Slurm's commands prints."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=check).stdout

    def jobs(self) -> dict[str, str]:
        """The jobs in the queue, each with its state."""
        told = self.ask("squeue", "--noheader", "--array", "--format", "%i %T")
        return dict(line.split() for line in told.splitlines())

    def job(self, job: str) -> dict[str, str]:
        """All that Slurm knows of a job."""
        return dict(re.findall(r"(\w+)=(\S+)", self.ask("scontrol", "--oneliner", "show", "job", job)))

    def seconds(self, job: str) -> int:
        """How long a job has run, by Slurm's own clock."""
        *days, clock = self.job(job)["RunTime"].split("-")
        hours, minutes, seconds = map(int, clock.split(":"))
        return seconds + 60 * (minutes + 60 * (hours + 24 * sum(map(int, days))))

    def empty(self) -> None:
        """Cancel every job."""
        if jobs := self.jobs():
            self.ask("scancel", "--quiet", *jobs, check=False)
            _wait_for(lambda: not self.jobs(), "the end of the jobs")

    def close(self) -> None:
        """End everything: jobs, daemons, and what daemons leave."""
        if self.ask("sinfo", "--noheader", check=False):
            self.empty()
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Daemons, steps and jobs, by where they look for their cluster."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


def _die_with_tests() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.05)
