"""The bundled tasks and the builders of their training rows agree, and the manifests claim no more than is known."""

from __future__ import annotations

import re

import pytest

from tvt.core.choices import BUILDERS
from tvt.data.builders.contract import find_builder, layouts_of
from tvt.data.tasks import TaskManifest, load_manifests
from tvt.errors import InputError
from tvt.io.machine import bundled_root

MANIFESTS = {manifest.name: manifest for manifest in load_manifests()}
STUDIED = {name: manifest for name, manifest in MANIFESTS.items() if manifest.left_out is None}

builders = pytest.mark.parametrize(("task", "layout"), [name.split("/") for name in BUILDERS.names], ids=BUILDERS.names)
studied = pytest.mark.parametrize("manifest", STUDIED.values(), ids=STUDIED.keys())


def test_thirteen_tasks_are_studied_and_iq_test_says_why_it_is_not() -> None:
    assert len(STUDIED) == 13
    assert set(MANIFESTS) - set(STUDIED) == {"IQ_Test"}
    assert {manifest.benchmark for manifest in MANIFESTS.values()} == {"BLINK"}


@builders
def test_every_registered_builder_loads_and_is_one(task: str, layout: str) -> None:
    builder = find_builder(task, layout)
    assert (builder.task, builder.layout) == (task, layout)
    assert builder.version >= 1
    assert builder.expects
    assert all(isinstance(pattern, str) and not pattern.startswith(("/", "..")) for pattern in builder.expects)
    assert callable(builder.units)
    assert callable(builder.draft)
    assert type(builder)() == builder or not vars(builder), "a builder is stateless"


@builders
def test_every_builder_is_the_one_that_its_manifest_speaks_of(task: str, layout: str) -> None:
    builder, manifest = find_builder(task, layout), MANIFESTS[task]
    assert builder.version == manifest.builder_version
    assert builder.options == manifest.options
    (source,) = [source for source in manifest.sources if source.layout == layout]
    assert [file.path for file in source.files] == list(builder.expects)


@studied
def test_every_studied_task_names_a_registered_builder_and_its_sources(manifest: TaskManifest) -> None:
    layouts = layouts_of(manifest.name)
    assert manifest.builder == layouts[0]
    assert tuple(source.layout for source in manifest.sources) == layouts
    for source in manifest.sources:
        assert source.url.startswith(("http://", "https://"))
        assert source.licence
        assert source.revision
    assert all(source.substitute for source in manifest.sources[1:]), "a second source stands in for the first"


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_evaluation_is_pinned_to_a_commit_and_classification_has_a_source(manifest: TaskManifest) -> None:
    evaluation = manifest.evaluation
    assert evaluation is not None
    assert (evaluation.dataset, evaluation.config, evaluation.format) == ("BLINK-Benchmark/BLINK", manifest.name, "blink")
    assert evaluation.split == "val"
    assert evaluation.revision is not None
    assert re.fullmatch(r"[0-9a-f]{40}", evaluation.revision)
    assert manifest.classification_source


def test_manifests_name_files_and_fit_a_line() -> None:
    for path in bundled_root().glob("*.yaml"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("name: ")
        assert not [line for line in lines if line.startswith("\t")]


def test_the_registry_is_lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILDERS.own, "Jigsaw/nowhere", "tvt.no_such_module:Nothing")
    assert layouts_of("Jigsaw")[-1] == "nowhere"
    assert find_builder("Jigsaw").layout == "tara"
    with pytest.raises(ModuleNotFoundError):
        find_builder("Jigsaw", "nowhere")


def test_unknown_tasks_and_layouts_are_told_what_there_is() -> None:
    with pytest.raises(InputError, match=r"IQ_Test: no builder makes rows of it.*there is one for Visual_Correspondence"):
        find_builder("IQ_Test")
    with pytest.raises(InputError, match="--layout imagenet: Jigsaw is not built from it; its layouts: tara, coco"):
        find_builder("Jigsaw", "imagenet")


def test_people_reach_the_mean_that_blink_states() -> None:
    """README of zeyofu/BLINK_Benchmark: 95.70% on average."""
    people = [manifest.human for manifest in load_manifests() if manifest.human is not None]
    assert len(people) == 13
    assert all(manifest.human_source for manifest in load_manifests() if manifest.human is not None)
    assert sum(people) / len(people) == pytest.approx(0.957, abs=5e-5)
