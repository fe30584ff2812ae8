"""The command: install, export, train a step, compare; a line for each trainer, and exit code 1 where anything differs."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from check_trainers import adapters, compare
from check_trainers.environment import Environment, ProgramError
from check_trainers.model import build
from check_trainers.trainers import TRAINERS, for_one_step
from check_trainers.world import COUNTS, write_world

SHOWN = 12
PACKAGES = ("torch", "transformers", "peft")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns 0 where all trainers train what tvt trains, 1 where one does not, 2 for a name that is none."""
    parser = argparse.ArgumentParser(prog="scripts/check-trainers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"trainers, of {', '.join(TRAINERS)}; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="work in this folder and leave all there; default: a temporary one"
    )
    parser.add_argument(
        "--environments", type=Path, metavar="DIR", help="where environments are made and found again; default: the same"
    )
    parser.add_argument("--no-adapters", action="store_true", help="only train and compare: open and score no adapters")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in TRAINERS:
            near = get_close_matches(name, TRAINERS, 1)
            guess = f" (did you mean '{near[0]}'?)" if near else ""
            parser.error(f"no trainer '{name}'{guess}; there are {', '.join(TRAINERS)}")
    with ExitStack() as stack:
        work = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="check-trainers-")))
        work.mkdir(parents=True, exist_ok=True)
        results = check(options.names or list(TRAINERS), work.absolute(), (options.environments or work).absolute(), options)
    if options.json:
        print(json.dumps({"schema": 1, "rows": sum(COUNTS.values()), "trainers": results}, indent=2, ensure_ascii=False))
    else:
        print(table(results))
    return 1 if any(result["faults"] for result in results.values()) else 0


def check(names: Sequence[str], work: Path, environments: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Check each trainer in turn; what one cannot do does not keep the others from being checked."""
    say("the mixture, the model, and what tvt makes of them")
    world = work / "world"
    if not (world / "model").exists():
        mixture, data = write_world(world)
        build(world / "model")
    else:
        mixture, data = (
            world / "mixture.yaml",
            dict(zip(COUNTS, sorted((world / "rows é [x]").glob("*.jsonl")), strict=True)),
        )
    from tvt.api.datasets import mix

    mixed = mix(mixture, world / "mixed", data).folder
    reader, expected = compare.trained_by_tvt(mixed, world / "model")
    own = None if options.no_adapters else adapters.train_with_tvt(mixture, data, world / "model", world / "tvt")
    results = {}
    for name in names:
        say(f"{name}: in {environments / name}")
        result: dict[str, Any] = {"version": "", "rows": 0, "images": 0, "trained_behind_answers": [], "faults": []}
        try:
            Check(name, work / name, Environment(environments / name), world, data, own).run(reader, expected, result)
        except (ProgramError, OSError, ValueError) as error:
            result["faults"].append(str(error))
        results[name] = result
    return results


class Check:
    """One trainer: its environment, its folder, and what it is given."""

    def __init__(  # noqa: PLR0917
        self, name: str, folder: Path, environment: Environment, world: Path, data: dict[str, Path], own: Path | None
    ) -> None:
        self.name, self.trainer, self.environment = name, TRAINERS[name], environment
        self.folder, self.world, self.data, self.own = folder, world, data, own
        self.log = folder / "log.txt"

    def run(self, reader: compare.Reader, expected: list[compare.Example], result: dict[str, Any]) -> None:
        """Fill ``result``."""
        self.folder.mkdir(parents=True)
        self.environment.install(self.trainer, self.log)
        result["version"] = self.environment.version(self.trainer.shown)
        result |= {name: self.environment.version(name) for name in PACKAGES}
        exported = self._export(
            sum(len(compare.runs(example)) for example in expected) if self.trainer.splits else len(expected)
        )
        command = [part.format(config="check.yaml") for part in self.trainer.command]
        say(f"{self.name}: {' '.join(command)}")
        result["seconds"] = round(self.environment.run(command, exported, self.log, capture=self.folder / "batches"))
        wanted = compare.split_answers(expected) if self.trainer.splits else expected
        found = compare.trained_by_trainer(reader, self.folder / "batches")
        differences = compare.compare(reader, wanted, found)
        result |= {
            "rows": differences.rows,
            "images": differences.images,
            "trained_behind_answers": sorted(differences.ends),
            "largest_difference": round(differences.most, 4),
        }
        result["faults"] += differences.faults
        if self.own is not None:
            self._adapters(exported, result)

    def _export(self, rows: int) -> Path:
        from tvt.api.datasets import export

        folder = self.folder / f"für {self.name} #1"
        export(self.world / "mixture.yaml", self.name, folder, self.data, model=str(self.world / "model"))
        config = yaml.safe_load((folder / self.trainer.config).read_text(encoding="utf-8"))
        changed = for_one_step(self.trainer, config, rows)
        (folder / "check.yaml").write_text(yaml.safe_dump(changed, allow_unicode=True), encoding="utf-8")
        return folder

    def _adapters(self, exported: Path, result: dict[str, Any]) -> None:
        saved = sorted(
            {path.parent for path in exported.rglob("adapter_config.json")}, key=lambda path: (len(path.parts), str(path))
        )
        model, questions = self.world / "model", next(iter(self.data.values()))
        said = {}
        if saved:
            said["scored by tvt evaluate"] = adapters.score_with_tvt(saved[0], model, questions, self.folder / "evaluations")
        else:
            said["scored by tvt evaluate"] = "the trainer saved no adapter"
        assert self.own is not None
        try:
            said["tvt's opens"] = adapters.open_elsewhere(self.environment, self.own, model, self.log)
            if self.name == "llamafactory":
                said["tvt's merges"] = adapters.merge_with_llamafactory(
                    self.environment, self.own, model, self.folder / "merge", self.log
                )
        except ProgramError as error:
            said["tvt's opens"] = str(error)
        result["adapters"] = {what: fault or "yes" for what, fault in said.items()}
        result["faults"] += [f"adapters: {fault}" for fault in said.values() if fault]


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as a table in Markdown, with what differs below it."""
    lines = [
        "| trainer | version | torch, transformers, peft | rows | images | differences | trained behind an answer | adapters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    faults = []
    for name, result in results.items():
        packages = ", ".join(result.get(package, "") for package in PACKAGES)
        ends = ", ".join(f"`{end!r}`" for end in result["trained_behind_answers"])
        across = "; ".join(f"{what}: {'yes' if said == 'yes' else 'no'}" for what, said in result.get("adapters", {}).items())
        counts = f"{result['rows']} | {result['images']} | {len(result['faults'])}"
        lines.append(f"| {name} | {result['version']} | {packages} | {counts} | {ends} | {across} |")
        faults += [f"{name}: {fault}" for fault in result["faults"][:SHOWN]]
        if len(result["faults"]) > SHOWN:
            faults.append(f"{name}: ... and {len(result['faults']) - SHOWN} more")
    return "\n".join([*lines, *([""] if faults else []), *faults])


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"check-trainers: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
