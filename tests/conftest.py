"""What all tests share: tvt's cache is a temporary folder."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Before any test file is imported: some copy the environment for their processes then."""
    folder = tempfile.mkdtemp(prefix="tvt-cache-")
    os.environ["TVT_CACHE"] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
