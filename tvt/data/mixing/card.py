"""The dataset card of a mixed dataset: its header is for ``datasets`` and the hub's search, the rest says what it is.

It holds no date and no path: the same mix gives the same text, as long as tvt and the rows' provenance are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvt import __version__
from tvt.core.mixture import Mixture
from tvt.io import digest
from tvt.io.names import NOT_STATED, front_matter, licence_id, table

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
"""The hub's names of sizes, by the number of rows below which they hold."""


def card(record: Mapping[str, Any], mixture: Mixture) -> str:
    """README.md of the dataset that ``record`` (of ``mix.json``) describes."""
    licences, remarks = _licences(record)
    header = {
        "license": licences,
        "pretty_name": "Mixed training data",
        "task_categories": ["visual-question-answering"],
        "size_categories": [next((name for below, name in SIZES if record["rows"] < below), "n>10M")],
        "tags": ["tvt", "data-mixture"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    return front_matter(header, remarks) + "\n" + "\n".join([*_lines(record, mixture), ""])


def _licences(record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Identifiers for the header where all rows say theirs, and what to say to the person who has to fill it in otherwise."""
    licences = {
        origin["licence"]: licence_id(origin["licence"]) for of in record["sources"].values() for origin in of["origins"]
    }
    if licences and None not in licences.values():
        return sorted({name for name in licences.values() if name}), []
    return [], ["license: fill it in; the rows' sources say what is listed below"]


def _lines(record: Mapping[str, Any], mixture: Mixture) -> list[str]:
    excluded = (
        f"No row is shared with the evaluation sets of digest `{record['evaluation']}`; rows that were are counted as left out."
        if record["evaluation"]
        else "It was not compared with any evaluation set."
    )
    mixed = [
        (
            name,
            f"{of['weight']:.4f}",
            f"{of['examples']:,}",
            f"{of['available']:,}",
            f"{of['epochs']:.2f}",
            f"{of['left_out']:,}",
        )
        for name, of in record["sources"].items()
    ]
    return [
        "# Mixed training data",
        "",
        f"{record['rows']:,} rows in the order of training, written by `tvt mix` from `mixture.yaml`.",
        "",
        "## Mixture",
        "",
        *table(("source", "weight", "examples", "available", "epochs", "left out"), mixed, figures=5),
        "",
        "Every row of a source is used as often as any other, give or take one; whole passes come before repeats, each pass in",
        "an order of its own. `manifest.csv` names the source, id, row and pass of every example, in order.",
        excluded,
        "",
        "## Where the rows come from",
        "",
        *_origins(record),
        "",
        "## Columns",
        "",
        "`images` (list, empty for text-only rows), `prompt` and `completion` (lists of messages, as TRL takes them),",
        '`source`, `id`. Load it with `datasets.load_dataset(FOLDER, split="train")`. The order is that of training already.',
        "",
        "## Provenance",
        "",
        *_provenance(record, mixture),
        "",
        "## What it is not",
        "",
        "- Not a benchmark: nothing may be scored on it, and it is no sample of any of its sources' whole data.",
        "- Not a promise: which mixture helps depends on the model it was chosen for.",
        "- Not cleared: whether its sources' licences allow what you do with it is for you to check.",
    ]


def _origins(record: Mapping[str, Any]) -> list[str]:
    rows = [
        (name, _linked(origin), origin["licence"], f"{origin['rows']:,}")
        for name, of in record["sources"].items()
        for origin in of["origins"]
        if (origin["source"], origin["licence"]) != (NOT_STATED, NOT_STATED)
    ]
    if not rows:
        return ["The rows do not say (they have no provenance)."]
    silent = sum(
        origin["rows"]
        for of in record["sources"].values()
        for origin in of["origins"]
        if (origin["source"], origin["licence"]) == (NOT_STATED, NOT_STATED)
    )
    more = ["", f"{silent:,} further rows do not say."] if silent else []
    return [*table(("source", "made from", "licence, as stated there", "rows to draw from"), rows, figures=1), *more]


def _linked(origin: Mapping[str, Any]) -> str:
    return f"[{origin['source']}]({origin['url']})" if origin["url"] else str(origin["source"])


def _provenance(record: Mapping[str, Any], mixture: Mixture) -> list[str]:
    """Seed, digests and versions, and what the mixture was chosen from."""
    identity = digest.of_value(mixture.model_dump(mode="json"))
    lines = [
        f"- tvt {__version__}, seed {record['seed']}, digest `{record['digest']}`: the same mixture, rows and seed give",
        "  the same bytes.",
        f"- Mixture of digest `{identity}`{_chosen(mixture)}.",
    ]
    return lines + [
        f"- Rows of {name} (all that there are): digest `{of['digest']}`"
        for name, of in record["sources"].items()
        if of["digest"]
    ]


def _chosen(mixture: Mixture) -> str:
    """From which evidence ``tvt select`` chose it, where it did."""
    evidence = mixture.provenance.get("evidence")
    if not isinstance(evidence, dict) or "name" not in evidence:
        return ""
    model = f" of {evidence['model']}" if evidence.get("model") else ""
    return f", chosen by `tvt select` on {evidence['name']}{model} (digest `{evidence.get('digest')}`)"
