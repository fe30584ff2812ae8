"""What a mixture becomes: a mixed dataset, an adapter trained on it, or another trainer's configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tvt.core.choices import EXPORTS
from tvt.core.mixture import Mixture
from tvt.data.mixing.dataset import RECORD, Mixed
from tvt.errors import InputError, install, suggest
from tvt.io import digest, json_text
from tvt.io.yaml_files import load_mixture

if TYPE_CHECKING:
    from tvt.core.question import Question
    from tvt.core.recipe import Recipe
    from tvt.data.imports.importing import ImportReport
    from tvt.data.mixing.plan import MixPlan
    from tvt.data.tasks import TaskManifest
    from tvt.exports.folder import Exported
    from tvt.exports.plan import Export, Plan
    from tvt.train.record import TrainingProgress, TrainingRecord

Count = Callable[[str, int, int], None]
"""Called with what is counted, how much of it is done and how much there is (0: not known)."""


def _uncounted(what: str, done: int, total: int) -> None:
    """Shows nothing."""


def as_mixture(mixture: Mixture | str | Path) -> Mixture:
    """The mixture, read where its file is given."""
    return mixture if isinstance(mixture, Mixture) else load_mixture(Path(mixture))


def plan_rows(
    mixture: Mixture | str | Path,
    data: Mapping[str, str | Path] = {},
    *,
    data_dir: str | Path = "data",
    manifests: Sequence[str] = (),
    seed: int = 0,
    exclude: Sequence[str | Path] = (),
    overlap: Literal["question", "image"] = "question",
    drop_shared: bool = False,
    check: bool = True,
    progress: Count = _uncounted,
) -> MixPlan:
    """Which rows a mixed dataset has, in the order of training: see :func:`mix`. ``check`` looks at every row."""
    from tvt.data.mixing.plan import plan_mix

    chosen = as_mixture(mixture)
    return plan_mix(
        chosen,
        rows_of_sources(chosen, data, data_dir, manifests),
        seed=seed,
        evaluation=[Path(path) for path in exclude],
        overlap=overlap,
        drop_shared=drop_shared,
        check=check,
        progress=progress,
    )


def mix(
    mixture: Mixture | str | Path,
    output: str | Path,
    data: Mapping[str, str | Path] = {},
    *,
    messages: bool = False,
    progress: Count = _uncounted,
    **options: Any,
) -> Mixed:
    """Write a mixture as one dataset with exact counts, rows in the order of training: see ``tvt mix``.

    Args:
        mixture: the mixture or its file.
        output: the folder to write.
        data: rows of sources: a ``.jsonl`` or ``.parquet`` file of questions, or a folder of them.
        messages: also write ``messages.jsonl`` for trainers without parquet.
        progress: called with what is counted, how much of it is done and how much there is.
        options: of :func:`plan_rows`: ``data_dir`` in which other sources' rows are looked for, ``manifests`` that say where
            they are, ``seed``, ``exclude`` (questions that must not be trained on), ``overlap``, ``drop_shared``.

    Raises:
        InputError: sources without rows, faulty rows, or rows that must not be trained on; every fault.
    """
    from tvt.data.mixing.dataset import write_mix

    return write_mix(plan_rows(mixture, data, progress=progress, **options), Path(output), progress, messages=messages)


def import_rows(
    files: Sequence[str | Path],
    output: str | Path,
    *,
    format: str = "auto",  # noqa: A002 - as in a manifest
    columns: Mapping[str, str] = {},
    image_folder: str | Path | None = None,
    frames: int | None = None,
    split: str | None = None,
    config: str | None = None,
    task: str | None = None,
    exclude: Sequence[str] = (),
    manifests: Mapping[str, TaskManifest] | None = None,
    every: bool = False,
    progress: Count = _uncounted,
) -> ImportReport:
    """Write rows of another trainer, or a table, as questions: see ``tvt data import``.

    Args:
        files: JSON, JSON Lines, CSV or parquet files, or folders that ``datasets`` saved.
        output: the ``.jsonl`` or ``.parquet`` file to write.
        format: one of :data:`tvt.core.choices.FORMATS`; ``auto`` finds it out row by row.
        columns: of a table, by what they hold: ``image``, ``question``, ``answer``, ``options``.
        image_folder: where relative paths of images and videos start; by default beside the file.
        frames: how many frames of a video are shown.
        split: of a folder with several.
        config: the entry of ``dataset_info.json`` where several describe a file.
        task: the rows' task; by default their own, or the output's name.
        exclude: evaluation sets whose rows are left out: files, tasks or benchmarks.
        manifests: by task name, for ``exclude``; by default the bundled ones.
        every: whether the error names every row where none can be read, not the first of each reason.
        progress: called with what is counted, how much of it is done and how much there is.

    Returns:
        How many rows were understood, what was changed, and every row that was left out, with the reason.

    Raises:
        InputError: a file that cannot be read at all, or no row that can be; every fault.
    """
    from tvt.data.imports.importing import Importer, fault_lines, file_data
    from tvt.data.lookalikes import add_texts, gallery_of
    from tvt.data.questions.files import KINDS, write_jsonl, write_parquet
    from tvt.data.tasks import find_manifests

    target = Path(output)
    if target.suffix.lower() not in KINDS:
        raise InputError(f"-o {target}: not a .jsonl or .parquet file; name one of them")
    if any(Path(file).resolve() == target.resolve() for file in files):
        raise InputError(f"-o {target}: is a file that is read; name another one")
    known = find_manifests(()) if manifests is None else manifests
    gallery = gallery_of(exclude, known, progress)
    add_texts(gallery, exclude, known)
    asked = {"format": format, "columns": dict(columns), "frames": frames, "split": split, "config": config}
    folder = None if image_folder is None else str(image_folder)
    importer = Importer(
        [file_data(Path(file), **asked, image_folder=folder) for file in files],
        task or target.stem,
        own_tasks=task is None,
        excluded=gallery.shared_by,
        progress=progress,
    )

    def questions() -> Iterator[Question]:
        yield from importer.questions()
        if not importer.report.understood:  # here, so that nothing is written
            left_out = [*importer.report.unread, *importer.report.shared]
            first = f"{', '.join(map(str, files))}: none of {importer.report.rows:,} rows became a question"
            raise InputError(first, *map(str.strip, fault_lines(left_out, every=every)))

    (write_jsonl if target.suffix.lower() == ".jsonl" else write_parquet)(questions(), target)
    return importer.report


def train(
    mixture: Mixture | str | Path,
    recipe: Recipe | str | Path,
    output: str | Path,
    data: Mapping[str, str | Path] = {},
    *,
    data_dir: str | Path = "data",
    seed: int = 0,
    resume: bool = False,
    machine_rank: int | None = None,
    rendezvous_timeout: float = 600,
    count: Count = _uncounted,
    progress: Callable[[TrainingProgress], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> TrainingRecord:
    """Train a LoRA adapter: see ``tvt train``. The same call again finds the run done.

    Args:
        mixture: a folder that :func:`mix` wrote; or a mixture or its file, which is mixed into ``output`` first.
        recipe: the recipe or its file.
        output: folder of the adapter and its record.
        data: rows of sources, as for :func:`mix`.
        data_dir: folder in which other sources' rows are looked for.
        seed: of the adapter's start and of later passes.
        resume: go on from the newest whole checkpoint of this very run.
        machine_rank: which of several machines this is; by default the node's number in a Slurm job, else 0.
        rendezvous_timeout: how many seconds to wait for the other machines.
        count: called while rows are mixed.
        progress: called with each step that is logged.
        note: called with each note.

    Raises:
        InputError: a faulty recipe or mixture, or a needed package is missing.
        TrainingError: training was stopped by a guard.
    """
    from tvt.io.yaml_files import load_recipe

    settings = load_recipe(Path(recipe)) if isinstance(recipe, str | Path) else recipe
    try:
        from tvt.train import Machines
        from tvt.train.launch import train as launch
    except ImportError as error:
        raise InputError(f"training needs more packages ({error}): {install('train')}") from error
    runtime, folder = settings.runtime, Path(output)
    if isinstance(mixture, Mixture) or Path(mixture).is_file():
        if runtime.num_machines > 1:
            raise InputError(
                f"{mixture}: several machines train on one mixed folder; write it first with tvt mix {mixture} -o mixed"
            )
        options: dict[str, Any] = {"data_dir": data_dir, "manifests": settings.manifests, "seed": seed}
        mixture = mix(mixture, folder / "mixed", data, progress=count, **options).folder
    machines = Machines(
        count=runtime.num_machines,
        rank=_slurm_rank(runtime.num_machines) if machine_rank is None else machine_rank,
        main_ip=runtime.main_process_ip,
        main_port=runtime.main_process_port,
        wait=rendezvous_timeout,
    )
    return launch(settings, Path(mixture), folder, seed=seed, resume=resume, machines=machines, progress=progress, note=note)


def _slurm_rank(machines: int) -> int:
    """Which of several machines this is: Slurm numbers the nodes of a job."""
    return int(os.environ.get("SLURM_NODEID", "0")) if machines > 1 and "SLURM_JOB_ID" in os.environ else 0


def export(
    mixture: Mixture | str | Path,
    trainer: str,
    output: str | Path | None = None,
    data: Mapping[str, str | Path] = {},
    *,
    data_dir: str | Path = "data",
    model: str | None = None,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
    template: str | None = None,
    progress: Count = _uncounted,
    **options: Any,
) -> Exported | str:
    """A mixture as a folder that another trainer runs on, rows included: see ``tvt export``.

    Args:
        mixture: the mixture or its file; or a folder that :func:`mix` wrote, whose rows are taken.
        trainer: its name, one of :data:`tvt.core.choices.EXPORTS`, such as ``trl``.
        output: the folder to write. For ``json``, a file, or nothing to write none.
        data: rows of sources, as for :func:`mix`.
        data_dir: folder of the other sources' rows.
        model: the base model; by default the mixture's, where it says.
        max_pixels: larger pictures are scaled down to these.
        min_pixels: smaller ones up.
        template: the trainer's own name of the chat template, where the model's type does not say it.
        progress: called with what is counted, how much of it is done and how much there is.
        options: of :func:`plan_rows`: ``manifests``, ``seed``, ``exclude``, ``overlap``, ``drop_shared``.

    Returns:
        The folder, with the command to run and notes; of ``json``, its text.

    Raises:
        InputError: sources without rows, rows that the trainer would misread, a model that it does not know; every fault.
    """
    from tvt.exports.plan import make_plan

    kind: Export = EXPORTS.find(trainer)
    folder = None if isinstance(mixture, Mixture) or not (Path(mixture) / RECORD).is_file() else Path(mixture)
    plan = make_plan(
        as_mixture(mixture if folder is None else folder / "mixture.yaml"),
        model=model,
        data={name: str(path) for name, path in data.items()},
        data_dir=Path(data_dir),
        need_model=kind.needs_model,
        max_pixels=max_pixels,
        min_pixels=min_pixels,
        template=template,
    )
    if kind.rows is None:
        return _export_text(kind, plan, output)
    if faults := kind.faults(plan):
        raise InputError(*faults)
    if output is None:
        raise InputError(f"where to? {trainer} needs the rows beside its configuration; name a folder with -o DIR")
    return _export_folder(kind, plan, trainer, Path(output), folder, data, {"data_dir": data_dir, **options}, progress)


def _export_text(kind: Export, plan: Plan, output: str | Path | None) -> str:
    from tvt.io import atomic

    (name, text), *_ = kind.render(plan).items()
    if output is not None:
        path = Path(output) / name if Path(output).is_dir() or str(output).endswith("/") else Path(output)
        try:
            atomic.write_text(path, text)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; name another place with -o") from error
    return text


def _export_folder(  # noqa: PLR0917
    kind: Export,
    plan: Plan,
    trainer: str,
    output: Path,
    mixed: Path | None,
    data: Mapping[str, str | Path],
    options: dict[str, Any],
    progress: Count,
) -> Exported:
    """Mix the rows, unless ``mixed`` has them, and write the folder from them."""
    from tempfile import TemporaryDirectory

    from tvt.data.mixing.dataset import write_mix
    from tvt.exports.folder import check_place, identity_of, previous, write_folder

    check_place(output)
    if mixed is not None:
        identity = identity_of(plan, trainer, json_text.loads((mixed / RECORD).read_text(encoding="utf-8"))["digest"])
        return previous(output, identity) or write_folder(
            kind, plan, mixed, output, trainer=trainer, identity=identity, progress=progress
        )
    rows = plan_rows(plan.mixture, data, progress=progress, **options)
    identity = identity_of(plan, trainer, digest.of_value(rows.identity))
    if (result := previous(output, identity)) is not None:
        return result
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{output.name}.", dir=output.absolute().parent) as beside:
        folder = write_mix(rows, Path(beside) / "mixed", progress).folder
        return write_folder(kind, plan, folder, output, trainer=trainer, identity=identity, progress=progress)


def rows_of_sources(
    mixture: Mixture, data: Mapping[str, str | Path], data_dir: str | Path = "data", manifests: Sequence[str] = ()
) -> dict[str, Path]:
    """Where the rows of each source with examples are: as given, else what is in the folder, else what its manifest says.

    Rows that a manifest has drawn on the spot are written into ``data_dir`` once.

    Raises:
        InputError: sources without rows, or names that are no sources; every fault, one line each.
    """
    from tvt.data.tasks import find_manifests
    from tvt.io.names import file_name, same_files

    data_dir = Path(data_dir)
    known = find_manifests(manifests) if manifests else {}
    faults = [
        f"--data {name}: no such source in the mixture{suggest(name, list(mixture.counts))}; see its counts"
        for name in data
        if name not in mixture.counts
    ]
    paths: dict[str, Path] = {}
    sources = [source for source, count in mixture.counts.items() if count > 0]
    faults += same_files((source for source in sources if source not in data), file_name)
    for source in sources:
        stem = file_name(source)
        places = [Path(data[source])] if source in data else [data_dir / f"{stem}{end}" for end in (".jsonl", ".parquet", "")]
        result = next((place for place in places if place.exists()), None)
        if result is not None:
            paths[source] = result
        elif source in data:
            faults.append(
                f"--data {source}: {data[source]}: no such file or folder; a dataset on the hub is named in a manifest"
            )
        elif source in known:
            paths[source] = _from_manifest(known[source], data_dir, faults)
        else:
            faults.append(
                f"{source}: no {stem}.jsonl, {stem}.parquet or {stem}/ in {data_dir}; name its rows with --data {source}=PATH"
            )
    if faults:
        raise InputError(*faults)
    return paths


def _from_manifest(manifest: TaskManifest, data_dir: Path, faults: list[str]) -> Path:
    from tvt.data.task_questions import as_file, locate

    try:
        return as_file(locate(manifest, "training"), manifest.name, data_dir)
    except InputError as error:
        faults += error.faults
        return data_dir
