"""Recover whole evaluation counts from published PGF figures and write them as a tvt study.

Every published value is (correct after - correct before) / e, where e is the number of questions that the base model gets
wrong on the target. So e is the smallest integer that makes the target's whole column of one run integer, and with the size
of the target's split (from its task manifest) all counts follow. They are inferred, and the study says so.

    python scripts/recover_counts.py PUBLISHED.csv --model Qwen2.5-VL-3B --parameters 3 -o data_manifests/studies/qwen2.5-vl-3b
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from tvt.core.matrix import TransferMatrix
from tvt.core.scores import Score
from tvt.data.studies.csv_study import load_csv_study
from tvt.data.studies.folder import StudyManifest, load_study_folder, write_study
from tvt.data.tasks import known_tasks, load_manifests
from tvt.errors import InputError, TvtError
from tvt.types import Floats

TOLERANCE = 1e-6
PROVENANCE = (
    "Counts inferred (not published as such) by scripts/recover_counts.py from the PGF figures published on the authors' "
    "project page of: Understanding Task Transfer in Vision-Language Models; Sachdeva, Uppal, Java, Balasubramanian; "
    "CVPR 2026; arXiv 2511.18787. Targets are the val splits of BLINK; the number of base errors of a run and target is the "
    "smallest integer that makes every published PGF of that run and target a whole number of questions."
)


def base_errors(column: Floats, questions: int) -> int:
    """Smallest number of base errors, at most ``questions``, that makes every PGF of ``column`` (sources,) a whole count.

    Raises:
        InputError: there is none.
    """
    for errors in range(1, questions + 1):
        gained = column * errors
        whole = np.rint(gained)
        if np.all(np.abs(gained - whole) < TOLERANCE) and np.all(whole >= errors - questions) and np.all(whole <= errors):
            return errors
    raise InputError(f"no number of base errors up to {questions} makes the column whole; the figures may be rounded")


def recover(published: TransferMatrix, questions: dict[str, int]) -> list[Score]:
    """Base rows and source rows of every run, as counts."""
    scores = []
    for k, run in enumerate(published.runs):
        errors = {
            target: base_errors(published.values[k, :, j], questions[target]) for j, target in enumerate(published.targets)
        }
        for i, source in enumerate((None, *published.sources)):
            for j, target in enumerate(published.targets):
                gained = 0 if source is None else round(published.values[k, i - 1, j] * errors[target])
                correct, total = questions[target] - errors[target] + gained, questions[target]
                scores.append(
                    Score(run=run, source=source, target=target, accuracy=correct / total, correct=correct, total=total)
                )
    return scores


@click.command()
@click.argument("published", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The base model's name.")
@click.option("--parameters", type=float, required=True, help="Its parameters, in billions.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The study folder to write.")
def main(published: Path, model: str, parameters: float, output: Path) -> None:
    """Write the study whose counts explain the PUBLISHED figures, and check that it gives them back."""
    try:
        figures = load_csv_study(published, unit="fraction")
        questions = {m.name: m.evaluation.questions for m in load_manifests() if m.evaluation and m.evaluation.questions}
        missing = [target for target in figures.targets if target not in questions]
        if missing:
            raise InputError(*(f"{target}: no manifest gives its number of questions; add one" for target in missing))
        manifest = StudyManifest(
            name=output.name,
            model=model,
            parameters=parameters,
            counts="inferred",
            provenance=PROVENANCE,
            tasks=known_tasks(tuple(dict.fromkeys((*figures.sources, *figures.targets)))),
        )
        write_study(output, manifest, recover(figures, questions))
        worst = float(np.max(np.abs(load_study_folder(output).values - figures.values)))
        if not worst < 1e-9:
            raise InputError(f"{output}: recomputed PGF differ by up to {worst:g}; do not use the study")
    except TvtError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{output}: {figures.values.size} cells, recomputed to within {worst:.1e}")


if __name__ == "__main__":
    main()
