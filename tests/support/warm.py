"""Pythons that start warm: ``tvt`` and its workers as real processes, without the seconds that importing torch and trl takes.

A server imports everything once. An executable that behaves as ``python`` does asks it to fork: the fork takes over the
arguments, environment, open files and process group of the one who asked, and runs the module that was named, as ``python -m``
would. Who asked waits, and ends as the fork did, by the same exit code or signal. Inside a fork, ``sys.executable`` is that
executable, so that the workers of ``tvt study run`` start warm too.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_LLAVA = ("llava.modeling_llava", "llava.processing_llava", "qwen2.modeling_qwen2", "siglip.modeling_siglip")
PRELOADED = [
    *("datasets", "peft", "trl", "accelerate", "rich.console", "rich.progress", "rich.table", "yaml"),
    *(f"transformers.models.{name}" for name in (*_LLAVA, "siglip.image_processing_pil_siglip")),
    *(f"tvt.study.{name}" for name in ("runner", "session", "estimate", "conductor")),
    "tvt.report.study_tables",
    *("tvt.cli.main", "tvt.cli.study", "tvt.evaluate.scorer", "tvt.train.run", "tvt.train.launch", "tvt.data.mixing.dataset"),
]
_CLIENT = """#!{python} -IS
import array, json, os, resource, signal, socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.connect({path!r})
handles = [int(name) for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name)]
handles = [handle for handle in handles if handle < 3 or os.get_inheritable(handle)]
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
told = dict(argv=sys.argv[1:], env=dict(os.environ), cwd=os.getcwd(), handles=handles, limits=limits)
stream.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", handles))])
stream.sendall(json.dumps(told).encode() + b"\\n")
signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fork gets it too, and decides
for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT):  # those are for this process alone, and handed on
    signal.signal(number, lambda number, _: stream.sendall(bytes([number])))
told = stream.recv(16)
status = int(told) if told else 9
if os.WIFSIGNALED(status):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != 9 else None
    os.kill(os.getpid(), os.WTERMSIG(status))
os._exit(os.waitstatus_to_exitcode(status))
"""


class WarmPython:
    """The server; ``executable`` stands for ``python``."""

    def __init__(self, folder: Path, environment: dict[str, str], more: Sequence[str] = ()) -> None:
        """``more`` names modules to be loaded beside the usual ones."""
        folder.mkdir(parents=True, exist_ok=True)
        path = str(folder / "socket")
        self.executable = folder / "python"
        self.executable.write_text(_CLIENT.format(python=Path(sys.executable), path=path))
        self.executable.chmod(0o755)
        self._log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, __file__, path, str(self.executable), *more],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )
        assert self._process.stdout is not None
        assert b"ready\n" in iter(self._process.stdout.readline, b""), (folder / "server.log").read_text()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


def serve(path: str, executable: str, *more: str) -> None:
    """Fork whenever asked; ends when its parent does."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    for name in (*PRELOADED, *more):
        __import__(name)
    sys.executable = executable
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(64)
    waking, wake = os.pipe()
    for end in (waking, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    print("ready", flush=True)
    clients: dict[socket.socket, int] = {}
    while True:
        for ready in select.select([listening, waking, *clients], [], [])[0]:
            if ready is listening:
                client = listening.accept()[0]
                with suppress(ValueError, ConnectionResetError):  # it was killed before it had said what it wants
                    clients[client] = _fork(client, [listening, *clients])
            elif ready is waking:
                os.read(waking, 4096)
                _reap(clients)
            elif ready in clients:
                told = b""
                with suppress(ConnectionResetError):  # it was killed before it read what it was told
                    told = ready.recv(16)
                for number in told:
                    os.kill(clients[ready], number)
                if not told:  # it is gone: whoever killed it wants the fork to end
                    os.kill(clients[ready], signal.SIGKILL)
                    ready.close()
                    del clients[ready]


def _reap(clients: dict[socket.socket, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        for client in [client for client, child in clients.items() if child == pid]:
            with suppress(OSError):
                client.sendall(str(status).encode())
            client.close()
            del clients[client]


def _fork(client: socket.socket, others: list[Any]) -> int:
    _, given, _, _ = socket.recv_fds(client, 1, 64)
    told = json.loads(client.makefile("rb").readline())
    peer = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    child = os.fork()
    if child:
        for handle in given:
            os.close(handle)
        return child
    code = 1
    try:
        for other in [client, *others]:
            other.close()
        code = _become(told, given, peer)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(told: dict[str, Any], given: list[int], peer: int) -> int:
    """Take over what makes up a process, and run its module."""
    import resource

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Tests that run in the background of a shell ignore Ctrl-C, and so would all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(PermissionError):  # of another session, where slurmd starts jobs
        os.setpgid(0, os.getpgid(peer))
    ctypes.CDLL(None).prctl(1, 0)
    high = [os.dup2(handle, 500 + k) for k, handle in enumerate(given)]
    os.closerange(3, 500)
    for handle, number in zip(high, told["handles"], strict=True):
        os.dup2(handle, number)
        os.close(handle)
    resource.setrlimit(resource.RLIMIT_FSIZE, told["limits"])
    os.environ.clear()
    os.environ.update(told["env"])
    os.chdir(told["cwd"])
    arguments = [argument for argument in told["argv"] if argument != "-u"]
    assert arguments[0] == "-m"
    Path("/proc/self/comm").write_text(arguments[1][-15:])
    sys.argv = arguments[1:]
    try:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


if __name__ == "__main__":
    serve(*sys.argv[1:])
