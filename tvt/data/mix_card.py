"""The dataset card of a mixed dataset: its header tells ``datasets`` what to load, the rest tells people what it is."""

from __future__ import annotations

from typing import Any

from tvt.io import strict_yaml


def card(record: dict[str, Any]) -> str:
    """README.md of the dataset that ``record`` describes. It holds no date and no path: the same mix gives the same text."""
    header = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
        "tags": ["tvt", "data-mixture"],
    }
    return f"---\n{strict_yaml.dump(header)}---\n\n" + "\n".join([*_lines(record), ""])


def _lines(record: dict[str, Any]) -> list[str]:
    rows = [
        f"| {_cell(name)} | {told['weight']:.4f} | {told['examples']:,} | {told['available']:,} "
        f"| {told['epochs']:.2f} | {told['left_out']:,} |"
        for name, told in record["sources"].items()
    ]
    excluded = (
        f"No row is shared with the evaluation sets of digest `{record['evaluation']}`; rows that were are counted as left out."
        if record["evaluation"]
        else "It was not compared with any evaluation set."
    )
    return [
        "# Mixed training data",
        "",
        f"{record['rows']:,} rows in the order of training, written by `tvt mix` from `mixture.yaml`.",
        "",
        "| source | weight | examples | available | epochs | left out |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
        "",
        "Every row of a source is used as often as any other, give or take one; whole passes come before repeats, each pass in",
        "an order of its own. `manifest.csv` names the source, id, row and pass of every example, in order.",
        excluded,
        "",
        f"Seed {record['seed']}, digest `{record['digest']}`: the same mixture, rows and seed give the same bytes.",
        "",
        "Columns: `images` (list, empty for text-only rows), `prompt` and `completion` (lists of messages, as TRL takes them),",
        '`source`, `id`. Load it with `datasets.load_dataset(FOLDER, split="train")`. The order is that of training already.',
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
