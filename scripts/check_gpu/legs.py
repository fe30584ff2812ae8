"""All legs, in the order of the table."""

from __future__ import annotations

from check_gpu import machine, made, passes, scoring, study, training
from check_gpu.leg import Leg

MODEL = made.LEG
"""Makes the model that the others use; run first where one of them needs it."""
LEGS: tuple[Leg, ...] = (*machine.LEGS, *training.LEGS, *passes.LEGS, *scoring.LEGS, *study.LEGS)
