"""Where the launches of a run on several machines meet: an address of machine 0, looked at before anybody waits there."""

from __future__ import annotations

import errno
import socket


def address_faults(host: str, port: int, rank: int) -> list[str]:
    """What is wrong with an address, as far as this machine can tell.

    Args:
        host: name or number of machine 0.
        port: there.
        rank: of this machine; machine 0 must be able to listen at the address.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return [f"--main-process-ip {host}: no such host ({error.strerror or error}); name machine 0 as the others reach it"]
    if rank:
        return []
    refusals = [_refusal(family, address) for family, _, _, _, address in found]
    if None in refusals:
        return []
    if errno.EADDRINUSE in refusals:
        return [
            f"--main-process-port {port}: is taken on this machine; name a free one, or another --machine-rank if machine 0 "
            "has started here already"
        ]
    if errno.EADDRNOTAVAIL in refusals:
        return [
            f"--main-process-ip {host}: is no address of this machine, and this is machine 0; name one that is, or give this "
            "machine another --machine-rank"
        ]
    return [f"--main-process-port {port}: cannot be listened on; name a free one above 1023"]


def _refusal(family: int, address: tuple[object, ...]) -> int | None:
    """Why nobody can listen at an address of this machine; ``None`` if somebody can."""
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a run before may have ended just now
        try:
            trial.bind(address)
        except OSError as error:
            return error.errno
    return None
