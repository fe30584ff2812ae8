"""``tvt doctor``: what this machine has, what would fail here, and how to mend it. Nothing in it raises or changes anything."""

from tvt.study.doctor.examine import examine
from tvt.study.doctor.machine import versions

__all__ = ["examine", "versions"]
