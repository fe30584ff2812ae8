"""Where the manifests and studies are that come with tvt; nothing heavy, so that shell completion can look there too."""

from __future__ import annotations

from pathlib import Path

import tvt


def bundled_root() -> Path:
    """Folder of the manifests and studies that come with tvt: inside the installed package, or beside it in a checkout."""
    package = Path(tvt.__file__).resolve().parent
    inside = package / "data_manifests"
    return inside if inside.is_dir() else package.parent / "data_manifests"
