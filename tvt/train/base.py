"""What a base model in a folder is, by its content: another model at the same path makes another run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tvt.io import digest

_WHOLE_BYTES = 64 * 2**20
_PIECES, _PIECE_BYTES = 256, 64 * 2**10


def base_digest(model_name_or_path: str) -> str | None:
    """Digest of a folder's weights and configuration; ``None`` for a hub model, which its revision names.

    Of large files, size and evenly spaced pieces are read: training changes all of a file, and the whole would take minutes.
    """
    folder = Path(model_name_or_path)
    if not folder.is_dir():
        return None
    files = sorted(path for pattern in ("*.safetensors", "*.json", "*.jinja") for path in folder.glob(pattern))
    return digest.of_value({path.name: _of_large_file(path) for path in files})


def _of_large_file(path: Path) -> str:
    size = path.stat().st_size
    if size <= _WHOLE_BYTES:
        return digest.of_file(path)
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        for piece in range(_PIECES):
            stream.seek(piece * (size - _PIECE_BYTES) // (_PIECES - 1))
            found.update(stream.read(_PIECE_BYTES))
    return found.hexdigest()
