"""What the models page says of a family is what tvt does with a tiny model of it: LLaVA's and their kin."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("trl")

import tiny_llava_like
from family_capabilities import Measured, made_in, on_the_page, row
from tvt.model.families import Family

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", made_in(tiny_llava_like), ids=lambda family: family.name)
def test_the_page_says_what_a_family_can_do(family: Family, tmp_path: Path) -> None:
    assert row(family, Measured(family.name, tmp_path).capabilities()) in on_the_page()
