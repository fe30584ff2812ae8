"""The builders that there are, by task and layout; a builder is imported only when it is asked for.

To add one: a line in ``BUILDERS``, ``(task, layout): "module:Class"``. The first layout of a task is the one that BLINK itself
was made from, and is taken where nobody names another.
"""

from __future__ import annotations

from importlib import import_module

from tvt.data.builders.contract import Builder
from tvt.errors import InputError, suggest

BUILDERS: dict[tuple[str, str], str] = {
    ("Visual_Correspondence", "hpatches"): "tvt.data.builders.hpatches:HPatches",
    ("Semantic_Correspondence", "spair"): "tvt.data.builders.spair:Spair",
    ("Functional_Correspondence", "funkpoint"): "tvt.data.builders.funkpoint:FunKPoint",
    ("Multi-view_Reasoning", "wild6d"): "tvt.data.builders.wild6d:Wild6D",
    ("Relative_Reflectance", "iiw"): "tvt.data.builders.iiw:Iiw",
    ("Relative_Depth", "diw"): "tvt.data.builders.diw:Diw",
    ("Visual_Similarity", "nights"): "tvt.data.builders.nights:Nights",
    ("Art_Style", "wikiart"): "tvt.data.builders.art:WikiArt",
    ("Art_Style", "artbench"): "tvt.data.builders.art:ArtBench",
    ("Forensic_Detection", "forensic"): "tvt.data.builders.forensic:Forensic",
    ("Jigsaw", "tara"): "tvt.data.builders.tara:Tara",
    ("Jigsaw", "coco"): "tvt.data.builders.coco_jigsaw:CocoJigsaw",
    ("Object_Localization", "lvis"): "tvt.data.builders.lvis:Lvis",
    ("Object_Localization", "coco"): "tvt.data.builders.coco_boxes:CocoBoxes",
    ("Counting", "tallyqa"): "tvt.data.builders.tallyqa:TallyQA",
    ("Counting", "pixmo_count"): "tvt.data.builders.pixmo_count:PixmoCount",
    ("Spatial_Relation", "vsr"): "tvt.data.builders.vsr:Vsr",
}


def layouts_of(task: str) -> tuple[str, ...]:
    """The layouts of raw data from which a task's rows can be built, the one taken by default first."""
    return tuple(layout for name, layout in BUILDERS if name == task)


def find_builder(task: str, layout: str | None = None) -> Builder:
    """The builder of a task.

    Args:
        task: the task's name.
        layout: which raw data it is to read; ``None`` takes the first of the task's.

    Raises:
        InputError: no builder of this task, or none that reads this layout.
    """
    layouts = layouts_of(task)
    if not layouts:
        tasks = list(dict.fromkeys(name for name, _ in BUILDERS))
        raise InputError(f"{task}: no builder makes rows of it{suggest(task, tasks)}; there is one for {', '.join(tasks)}")
    chosen = layout or layouts[0]
    if chosen not in layouts:
        raise InputError(f"--layout {chosen}: {task} is not built from it; its layouts: {', '.join(layouts)}")
    module, _, name = BUILDERS[task, chosen].partition(":")
    builder: Builder = getattr(import_module(module), name)()
    return builder
