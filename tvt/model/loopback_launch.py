"""torchrun for processes of one machine that meet on its loopback interface, where other machines cannot reach them.

torchrun's own ``--standalone`` says *localhost* and yet listens on every interface, since ``TCPStore`` does, and whoever
reaches that store can read and change what the processes exchange. A store takes a socket that listens already, so it gets
one that listens on loopback alone. What gloo and NCCL open of their own is bound to the same interface.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import partial

_LOOPBACK = "127.0.0.1"
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def main(arguments: list[str]) -> None:
    """Start processes and wait for them.

    Args:
        arguments: of torchrun, without those that say where the processes meet.
    """
    from torch.distributed import run
    from torch.distributed.elastic.rendezvous import static_tcp_rendezvous as rendezvous

    listening = socket.create_server((_LOOPBACK, 0), backlog=512)
    rendezvous.TCPStore = partial(rendezvous.TCPStore, master_listen_fd=listening.fileno())  # type: ignore[attr-defined,assignment]
    for name in _INTERFACES:
        if (interface := loopback_interface()) is not None:
            os.environ.setdefault(name, interface)
    port = listening.getsockname()[1]
    listening.detach()  # the store closes it
    run.main(["--master_addr", _LOOPBACK, "--master_port", str(port), *arguments])


def loopback_interface() -> str | None:
    """The name of the interface that only this machine reaches: ``lo`` on Linux, ``lo0`` on macOS."""
    return next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)


if __name__ == "__main__":
    main(sys.argv[1:])
