"""Every kind of adapter is scored as plain PEFT scores it, and changes nothing that is scored after it."""

# ruff: noqa: E402
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import ROOT

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from peft import PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType
from safetensors.torch import load_file, save_file

import adapter_kinds
import docs_tables
import tiny_vlm
from adapter_kinds import KINDS, Bench, Kind, Measured
from tvt.core.recipe import EvaluationConfig
from tvt.errors import InputError
from tvt.evaluate.adapters import REFUSED, REFUSED_STARTS
from tvt.evaluate.evaluator import Evaluator
from tvt.evaluate.results import CellResult
from tvt.evaluate.scorer import RawAnswer
from tvt.io.adapter_file import WEIGHTS
from tvt.model import base as base_module
from tvt.model.base import BaseState, load_base

PAGE = ROOT / "tvt" / "docs" / "adapters.md"
CASES = [(base, kind) for base in adapter_kinds.BASES for kind in KINDS if base in kind.bases]
TASKS = {"one": adapter_kinds.QUESTIONS}
HEAD = next(kind for kind in KINDS if "of the head" in kind.name)
PISSA = next(kind for kind in KINDS if kind.name.endswith("PiSSA"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bench]:
    """A base model by name, made once."""
    made: dict[str, Bench] = {}

    def get(name: str) -> Bench:
        if name not in made:
            made[name] = Bench(tmp_path_factory.mktemp(name), name)
        return made[name]

    return get


@pytest.fixture(scope="module")
def measure(bench: Callable[[str], Bench]) -> Callable[[str, Kind], Measured]:
    """What becomes of a kind on a base model, measured once."""
    known: dict[tuple[str, str], Measured] = {}

    def get(base: str, kind: Kind) -> Measured:
        if (base, kind.name) not in known:
            known[base, kind.name] = bench(base).measure(kind)
        return known[base, kind.name]

    return get


@pytest.mark.parametrize(("base", "kind"), CASES, ids=[f"{base}-{kind.name}" for base, kind in CASES])
def test_scores_are_those_of_plain_peft_and_what_is_scored_after_is_unchanged(
    base: str, kind: Kind, measure: Callable[[str, Kind], Measured]
) -> None:
    found = measure(base, kind)
    assert found.own, "its own scores"
    assert found.acts, "an adapter that changes nothing would prove nothing"
    assert found.base_after, "the base model's scores after it"
    assert found.plain_after, "a plain adapter's scores after it"


def test_the_page_lists_every_kind_as_it_was_measured(measure: Callable[[str, Kind], Measured]) -> None:
    wanted = adapter_kinds.table(measure(base, kind) for base, kind in CASES)
    assert docs_tables.between(PAGE.read_text(), "adapters") == wanted, "write it anew:\n" + "\n".join(wanted)


def same_bytes(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit: packed 4-bit weights may read as NaN in the type that stores them."""
    flat = [tensor.detach().reshape(-1).contiguous().view(torch.uint8) for tensor in (a, b)]
    return a.shape == b.shape and torch.equal(*flat)


def test_base_is_as_freshly_loaded_after_all_kinds(bench: Callable[[str], Bench]) -> None:
    for name in adapter_kinds.BASES:
        used, fresh = bench(name).loaded.model, load_base(bench(name).config).model
        pairs = list(zip(used.named_modules(), fresh.named_modules(), strict=True))
        assert [(n, type(m), sorted(vars(m)), m.training) for (n, m), _ in pairs] == [
            (n, type(m), sorted(vars(m)), m.training) for _, (n, m) in pairs
        ]
        tensors = list(zip(used.named_parameters(), fresh.named_parameters(), strict=True))
        assert all(n == other and same_bytes(t, o) and not t.requires_grad for (n, t), (other, o) in tensors)
        assert used.config.to_dict() == fresh.config.to_dict()
        assert used.generation_config.to_dict() == fresh.generation_config.to_dict()


def scores(cells: dict[str, CellResult]) -> list[RawAnswer]:
    return [item.outcome for item in cells["one"].items]


@pytest.mark.parametrize("mode", ["options", "generate"])
@pytest.mark.parametrize("kind", [HEAD, PISSA], ids=["head", "pissa"])
def test_an_evaluation_keeps_the_answers_of_each_adapter_as_if_it_were_alone(
    mode: Any, kind: Kind, bench: Callable[[str], Bench], tmp_path: Path
) -> None:
    used = bench("llava")
    settings = EvaluationConfig(mode=mode, batch_size=6, max_new_tokens=3)
    changing, notes = used.adapter(kind, f"changing-{mode}-{kind.name.split()[-1]}"), []
    alone = [
        scores(Evaluator(used.config, settings, tmp_path / str(adapter)[-3:]).evaluate([adapter], TASKS)[0])
        for adapter in (changing, used.plain, None)
    ]
    evaluator = Evaluator(used.config, settings, tmp_path / "together", note=notes.append)
    together = [scores(cells) for cells in evaluator.evaluate([changing, used.plain, None], TASKS)]
    assert together == alone
    assert alone[0] != alone[1] != alone[2] != alone[0]
    again = [scores(cells) for cells in Evaluator(used.config, settings, tmp_path / "together").evaluate([used.plain], TASKS)]
    assert again == [alone[1]], "what was kept"
    changed = [f"{changing}: changes weights of the base model itself, which is therefore loaded again before the next one"]
    assert notes == (changed if kind is PISSA else [])


def refused_configs() -> list[dict[str, Any]]:
    return [
        *({"peft_type": kind} for kind in REFUSED),
        *({"peft_type": "LORA", "init_lora_weights": start} for start in REFUSED_STARTS),
    ]


@pytest.mark.parametrize("config", refused_configs(), ids=lambda config: "-".join(config.values()))
def test_what_cannot_be_scored_is_refused_by_name_before_anything_is_loaded(
    config: dict[str, Any], bench: Callable[[str], Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_module, "load_model", lambda *_, **__: pytest.fail("loaded"))
    used, folder = bench("llava"), tmp_path / "refused"
    folder.mkdir()
    save_file({"weight": torch.ones(2)}, folder / WEIGHTS)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as error:
        Evaluator(used.config, adapter_kinds.SETTINGS, tmp_path / "e").evaluate([used.plain, folder], TASKS)
    (line,) = error.value.faults
    assert line.startswith(f"{folder}: ")
    assert config.get("init_lora_weights", config["peft_type"]) in line
    assert "\n" not in line


def test_every_kind_of_peft_without_weights_is_refused_and_no_kind_is_forgotten() -> None:
    """Where a later PEFT adds a kind, the table has to be added to."""
    prompts = {kind.value for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items() if issubclass(config, PromptLearningConfig)}
    assert prompts <= REFUSED.keys()
    measured = {kind.make(Path("none")).peft_type for kind in KINDS if not kind.needs_base}
    needing = {PeftType.ADAMSS}  # it needs scikit-learn, which is not installed with tvt
    assert {PeftType(name) for name in REFUSED} | measured | needing == set(PeftType)


def test_a_start_by_a_random_decomposition_is_scored_with_a_caution(bench: Callable[[str], Bench], tmp_path: Path) -> None:
    used = bench("llava")
    folder = used.adapter(next(kind for kind in KINDS if "niter" in kind.name), "niter")
    notes: list[str] = []
    evaluator = Evaluator(used.config, adapter_kinds.SETTINGS, tmp_path, note=notes.append)
    evaluator.evaluate([folder], TASKS)
    assert "was started by a random decomposition (init_lora_weights=pissa_niter_4)" in notes[0]


@pytest.mark.parametrize("gone", ["lm_head", "lora_B"])
def test_an_adapter_that_lacks_a_tensor_is_refused_and_the_base_stays_whole(
    gone: str, bench: Callable[[str], Bench], tmp_path: Path
) -> None:
    used = bench("llava")
    folder = used.adapter(HEAD, f"without-{gone}")
    tensors = load_file(folder / WEIGHTS)
    del tensors[next(name for name in tensors if gone in name)]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"without-.*(tensors are missing|does not fit this base model)"):
        used.shared(folder)
    assert used.shared(None) == used.alone
    assert used.shared(used.plain) == used.plain_alone


def test_names_of_earlier_versions_of_transformers_are_read_as_peft_reads_them(bench: Callable[[str], Bench]) -> None:
    used = bench("llava")
    folder = used.adapter(KINDS[0], "earlier")
    expected = used.fresh(folder)
    tensors = load_file(folder / WEIGHTS)
    earlier = {name.replace(".model.language_model.", ".language_model.model."): tensor for name, tensor in tensors.items()}
    assert not earlier.keys() & tensors.keys()
    save_file(earlier, folder / WEIGHTS, metadata={"format": "pt"})
    assert used.shared(folder) == expected


def test_an_adapter_that_changes_the_base_is_put_on_the_model_as_it_was_loaded(bench: Callable[[str], Bench]) -> None:
    used = bench("llava")
    folder = used.adapter(PISSA, "twice")
    assert used.shared(folder) == used.shared(folder) == used.fresh(folder)


def test_base_whose_files_changed_is_not_loaded_again(tmp_path: Path) -> None:
    used = Bench(tmp_path, "llava")
    folder = used.adapter(PISSA, "pissa")
    used.shared(folder)
    tiny_vlm.save(tmp_path / "base", seed=5)
    with pytest.raises(InputError, match="its files changed since it was first loaded"):
        used.shared(None)


def flip(model: Any) -> None:
    """One bit of one weight, past autograd's version counters."""
    model.lm_head.weight.data.view(torch.uint8)[3, 5] ^= 1


def swap(model: Any) -> None:
    weight = model.lm_head.weight.data
    weight[[0, 1]] = weight[[1, 0]]


def negate(model: Any) -> None:
    model.lm_head.weight.data[:2] *= -1


def replace(model: Any) -> None:
    model.lm_head.weight.data = model.lm_head.weight.data * 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("change", [flip, swap, negate, replace])
def test_a_change_of_content_is_found(change: Callable[[Any], None], dtype: Any, bench: Callable[[str], Bench]) -> None:
    config = bench("llava").config.model_copy(update={"dtype": dtype})
    model = load_base(config).model
    state = BaseState(model)
    assert state.holds()
    change(model)
    state.put_back()
    assert not state.holds()


def wrap(model: Any) -> None:
    model.lm_head = torch.nn.Sequential(model.lm_head)


def hook(model: Any) -> None:
    model.lm_head.register_forward_hook(lambda module, inputs, output: output * 2)


def parametrize(model: Any) -> None:
    torch.nn.utils.parametrize.register_parametrization(model.lm_head, "weight", torch.nn.Identity())


def override(model: Any) -> None:
    model.forward = lambda *_, **__: None
    model.config.text_config.hidden_act = "relu"
    model.generation_config.max_new_tokens = 3


def thaw(model: Any) -> None:
    model.train().requires_grad_(True)
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)


def other_tensor(model: Any) -> None:
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.data.clone(), requires_grad=False)


@pytest.mark.parametrize("change", [wrap, hook, parametrize, override, thaw, other_tensor])
def test_what_was_put_on_the_model_is_found_and_taken_off(change: Callable[[Any], None], bench: Callable[[str], Bench]) -> None:
    model = load_base(bench("llava").config).model
    state = BaseState(model)
    before = model.config.to_dict()
    change(model)
    assert not state.holds()
    state.put_back()
    assert state.holds()
    assert model.config.to_dict() == before
    assert not model.training
    assert type(model.lm_head) is torch.nn.Linear
    assert model.lm_head.weight.grad is None
