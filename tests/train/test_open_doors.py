"""Processes of one machine listen on its loopback interface alone."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from tvt.io.processes import Machines, SharedWork, run_together

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's tables of sockets")]


def test_two_processes_meet_where_only_this_machine_reaches(tmp_path: Path) -> None:
    messages: list[tuple[str, Any]] = []
    work = SharedWork(
        name="training",
        module="listening",
        job="{}",
        job_file=tmp_path / "job.json",
        log=tmp_path / "log",
        processes=2,
        rendezvous="some",
        again="",
    )
    run_together(work, Machines(), lambda kind, what: messages.append((kind, what)))
    (total, addresses) = dict(messages)["listening"]
    assert total == 2, "they met"
    assert addresses, "they listen"
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses)
