"""A real Ray cluster of small nodes on this machine, for the tests; and who is at work in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Before Ray is imported.
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled", RAY_worker_niceness="0")
SIZE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000}


@contextmanager
def nodes(count: int) -> Iterator[Any]:
    """A cluster of nodes with a core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(**SIZE, include_dashboard=False)
        for _ in range(count - 1):
            cluster.add_node(**SIZE)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def at_work(study: Path) -> dict[int, tuple[str, int]]:
    """The processes that do runs of a study: each with its run and its parent, which stands for its node."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            log = Path(os.readlink(folder / "fd" / "1"))
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if log.parent == study / "logs" and log.name.startswith("worker-ray-"):
            found[int(folder.name)] = log.name.split("-")[2], parent
    return found


def engines() -> set[int]:
    """All processes of Ray itself, of whichever cluster."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
        except OSError:
            continue
        name = command[0].rpartition(b"/")[2]
        if (
            name in (b"raylet", b"gcs_server")
            or name.startswith(b"ray::")
            or any(b"/ray/dashboard/" in part for part in command)
        ):
            found.add(int(path.parent.name))
    return found
