"""One process of a training run: ``python -m tvt.train.worker JOB``, started by :mod:`tvt.io.processes`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from tvt.io.processes import report, run_part
from tvt.train.record import TrainingJob, TrainingProgress


def main(path: Path) -> None:
    """Train, and report it to the parent process."""
    run_part(lambda: _train(TrainingJob.load(path.read_text(encoding="utf-8"))))


def report_progress(progress: TrainingProgress) -> None:
    """One line of progress to the parent."""
    report("progress", asdict(progress))


def _train(job: TrainingJob) -> None:
    import torch.distributed

    from tvt.train.run import run

    run(job, report_progress)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
