"""The part of the hub's HTTP interface that ``datasets`` and ``huggingface_hub`` use to read one dataset, on this machine.

Endpoints and headers as huggingface_hub 2.4 asks for them (watched by what it requests); the files are a folder's.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
"""The only commit that there is."""


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path
    name: str
    asked: list[str]

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        about, files = f"/api/datasets/{self.name}", f"/datasets/{self.name}/resolve/"
        if path == about or path in (f"{about}/revision/{revision}" for revision in ("main", COMMIT)):
            self._json(
                {"id": self.name, "sha": COMMIT, "private": False, "downloads": 0, "likes": 0, "tags": [], "siblings": []}
            )
        elif path.startswith(f"{about}/tree/{COMMIT}"):
            self._tree(self.root / path.removeprefix(f"{about}/tree/{COMMIT}").strip("/"))
        elif path.startswith(files):
            self._file(*path.removeprefix(files).split("/", 1))
        else:
            self._missing("RevisionNotFound" if path.startswith(about) else "RepoNotFound")

    def _tree(self, folder: Path) -> None:
        if not folder.is_dir():
            self._missing("EntryNotFound")
            return
        self._json([self._entry(path) for path in sorted(folder.iterdir())])

    def _entry(self, path: Path) -> dict[str, Any]:
        kind, size = ("file", path.stat().st_size) if path.is_file() else ("directory", 0)
        return {"type": kind, "oid": "0" * 40, "size": size, "path": path.relative_to(self.root).as_posix()}

    def _file(self, revision: str, name: str) -> None:
        if revision not in ("main", COMMIT):
            self._missing("RevisionNotFound")
        elif not (self.root / name).is_file():
            self._missing("EntryNotFound")
        else:
            body = (self.root / name).read_bytes()
            self._send(200, body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self, what: str) -> None:
        self._send(404, b"{}", {"X-Error-Code": what, "X-Repo-Commit": COMMIT})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serve(root: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder as a dataset; gives the address, for ``HF_ENDPOINT``, and a list to which every request is added."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"root": root, "name": name, "asked": asked}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
