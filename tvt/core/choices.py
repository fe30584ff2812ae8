"""What can be chosen by name, one table a kind. A new choice is a module of its own and a line here, or an entry point outside.

Objectives, which are formulas, stand in :mod:`tvt.core.objective`. What each kind is, its own class says.
"""

from __future__ import annotations

from typing import Any

from tvt.core.registry import Registry

EXECUTORS: Registry[Any] = Registry(
    "executor",
    "tvt.executors",
    {
        "local": "tvt.study.executors.local:Local",
        "slurm": "tvt.study.executors.slurm:Slurm",
        "ray": "tvt.study.executors.ray:Ray",
    },
    "tvt.study.executors:Engine",
)
"""Who does a study's runs: :class:`tvt.study.executors.Engine`."""

EXPORTS: Registry[Any] = Registry(
    "trainer",
    "tvt.exports",
    {
        "trl": "tvt.exports.trl:Trl",
        "llamafactory": "tvt.exports.llamafactory:LlamaFactory",
        "ms-swift": "tvt.exports.swift:Swift",
        "axolotl": "tvt.exports.axolotl:Axolotl",
        "json": "tvt.exports.plain:Plain",
    },
    "tvt.exports.plan:Export",
)
"""Trainers that a mixture is written for: :class:`tvt.exports.plan.Export`."""

READERS: Registry[Any] = Registry(
    "reader",
    "tvt.readers",
    {
        "careful": "tvt.evaluate.readers.careful:Careful",
        "official": "tvt.evaluate.readers.official:Official",
        "lmms-eval-0.7.2": "tvt.evaluate.readers.lmms_eval:LmmsEval072",
        "lmms-eval-0.7.3": "tvt.evaluate.readers.lmms_eval:LmmsEval073",
        "vsi-bench": "tvt.evaluate.readers.vsi_bench:VsiBench",
    },
    "tvt.evaluate.readers.contract:Reader",
)
"""Readers of free answers: :class:`tvt.evaluate.readers.contract.Reader`."""

PROMPTS: Registry[Any] = Registry(
    "prompt",
    "tvt.prompts",
    {
        "dataset": "tvt.evaluate.prompts:Dataset",
        "official": "tvt.evaluate.prompts:Official",
        "letter": "tvt.evaluate.prompts:Letter",
    },
    "tvt.evaluate.prompts:Profile",
)
"""Profiles by which questions are put, beside templates: :class:`tvt.evaluate.prompts.Profile`."""

FORMATS: Registry[Any] = Registry(
    "format",
    "tvt.formats",
    {
        "questions": "tvt.data.hub.formats:QuestionRows",
        "blink": "tvt.data.hub.formats:BlinkRows",
        "vsi-bench": "tvt.data.hub.videos:VsiRows",
    },
    "tvt.data.hub.formats:RowFormat",
)
"""What a dataset's columns are: :class:`tvt.data.hub.formats.RowFormat`."""

RESPONSES: Registry[Any] = Registry(
    "response",
    "tvt.responses",
    {"log": "tvt.evidence.response:Log", "linear": "tvt.evidence.response:Linear"},
    "tvt.evidence.response:ResponseForm",
)
"""How gains grow with a source's weight: :class:`tvt.evidence.response.ResponseForm`."""

BUILDERS: Registry[Any] = Registry(
    "builder",
    "tvt.builders",
    {
        "Visual_Correspondence/hpatches": "tvt.data.builders.hpatches:HPatches",
        "Semantic_Correspondence/spair": "tvt.data.builders.keypoints:Spair",
        "Functional_Correspondence/funkpoint": "tvt.data.builders.keypoints:FunKPoint",
        "Multi-view_Reasoning/wild6d": "tvt.data.builders.wild6d:Wild6D",
        "Relative_Reflectance/iiw": "tvt.data.builders.point_pairs:Iiw",
        "Relative_Depth/diw": "tvt.data.builders.point_pairs:Diw",
        "Visual_Similarity/nights": "tvt.data.builders.image_pairs:Nights",
        "Art_Style/wikiart": "tvt.data.builders.image_pairs:WikiArt",
        "Art_Style/artbench": "tvt.data.builders.image_pairs:ArtBench",
        "Forensic_Detection/forensic": "tvt.data.builders.forensic:Forensic",
        "Jigsaw/tara": "tvt.data.builders.jigsaw:Tara",
        "Jigsaw/coco": "tvt.data.builders.jigsaw:CocoJigsaw",
        "Object_Localization/lvis": "tvt.data.builders.object_boxes:Lvis",
        "Object_Localization/coco": "tvt.data.builders.object_boxes:CocoBoxes",
        "Counting/tallyqa": "tvt.data.builders.counting:TallyQA",
        "Counting/pixmo_count": "tvt.data.builders.counting:PixmoCount",
        "Spatial_Relation/vsr": "tvt.data.builders.vsr:Vsr",
    },
)
"""Builders of training rows, by task and layout of the raw data; a task's first layout is the one that BLINK itself was made
from, and is taken where nobody names another: :class:`tvt.data.builders.contract.Builder`."""
