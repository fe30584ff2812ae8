"""What tests share: tvt's cache is a temporary folder, and studies have a small world to run in."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from study_world import Tvt, World


def pytest_configure(config: pytest.Config) -> None:
    """Before any test file is imported: some copy the environment for their processes then."""
    folder = tempfile.mkdtemp(prefix="tvt-cache-")
    os.environ["TVT_CACHE"] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="module")
def tvt() -> Tvt:
    """The ``tvt`` command, started warm."""
    import study_world  # it imports torch, which most tests need not

    return study_world.warm_tvt()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three small tasks, a tiny model and a recipe."""
    import study_world

    return study_world.build(tmp_path_factory.mktemp("world"))
