"""Ports of this machine that are free, and that the kernel gives to nobody by itself meanwhile."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

_BELOW_EPHEMERAL = range(20_000, 30_000)
"""Linux takes the ports of outgoing connections, and those of servers that name none, from 32768 on."""


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens, drawn at random: several test processes draw at the same time."""
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < count:
            port = random.SystemRandom().choice(_BELOW_EPHEMERAL)
            trial = stack.enter_context(socket.socket())
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found
