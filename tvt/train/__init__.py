"""Training: one run is a mixed dataset and a seed, and gives one adapter. torch is imported only when it starts."""

from __future__ import annotations

from tvt.io.processes import Machines
from tvt.train.launch import train
from tvt.train.record import TrainingProgress, TrainingRecord, load_training_record

__all__ = ["Machines", "TrainingProgress", "TrainingRecord", "load_training_record", "train"]
