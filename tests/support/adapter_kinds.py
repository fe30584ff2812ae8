"""Every kind of adapter that PEFT makes for the tiny models, and what becomes of it and of the base model when it is scored."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

import tiny_vlm
from tvt.core.recipe import EvaluationConfig, ModelConfig
from tvt.evaluate.adapters import REFUSED, REFUSED_STARTS, attached, check_adapter, refusal
from tvt.evaluate.asking import compose
from tvt.evaluate.scorer import RawAnswer, Scorer
from tvt.model.base import Loaded, load_base

LAYERS = r".*language_model.*\.(q_proj|v_proj|down_proj)"
QUESTIONS = tiny_vlm.questions("one", 6)
SETTINGS = EvaluationConfig(mode="options", batch_size=6)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of adapter: how PEFT makes one."""

    name: str
    make: Callable[[Path], Any]
    """Its configuration, for the base model in a folder."""
    bases: tuple[str, ...] = ("llava",)
    """The base models that it is tried on."""
    settings: dict[str, Any] = field(default_factory=dict)
    """More for ``save_pretrained``."""
    needs_base: bool = False
    """Whether its configuration depends on the base model."""


def lora(name: str, *, bases: tuple[str, ...] = ("llava",), saved: dict[str, Any] | None = None, **settings: Any) -> Kind:
    """LoRA with more settings."""
    settings = {"r": 4, "target_modules": LAYERS, **settings}
    return Kind(name=name, make=lambda _: peft.LoraConfig(**settings), bases=bases, settings=saved or {})


def other(name: str, config: str, **settings: Any) -> Kind:
    """A kind that is not LoRA."""
    return Kind(name=name, make=lambda _: getattr(peft, config)(**{"target_modules": LAYERS, **settings}))


def alora(base: Path) -> Any:
    """LoRA that begins to act at a text of the prompt."""
    tokens = AutoTokenizer.from_pretrained(base).encode("Options")
    return peft.LoraConfig(r=4, target_modules=LAYERS, task_type="CAUSAL_LM", alora_invocation_tokens=tokens)


BASES = ("llava", "qwen", "tied", "4bit")
KINDS = [
    lora("LoRA", bases=BASES),
    lora("LoRA, rsLoRA", use_rslora=True),
    lora("LoRA, DoRA", use_dora=True, bases=("llava", "4bit")),
    lora("LoRA, `rank_pattern` and `alpha_pattern`", rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 32}),
    lora("LoRA, `modules_to_save` of the head", modules_to_save=["lm_head"], bases=BASES),
    lora("LoRA, `modules_to_save` of the embeddings", modules_to_save=["embed_tokens"], bases=("llava", "tied")),
    lora("LoRA, `modules_to_save` of a norm", modules_to_save=["norm"]),
    lora("LoRA, `bias: all`", bias="all", bases=("llava", "4bit")),
    lora("LoRA, `bias: lora_only`", bias="lora_only"),
    lora("LoRA, `lora_bias`", lora_bias=True),
    lora("LoRA, `trainable_token_indices`", trainable_token_indices={"embed_tokens": [65, 66]}, bases=("llava", "tied")),
    lora("LoRA, `target_parameters`", target_modules=[], target_parameters=["q_proj.weight", "down_proj.weight"]),
    lora("LoRA on the head", target_modules=["lm_head"], bases=("llava", "tied")),
    lora("LoRA on the embeddings", target_modules=["embed_tokens"], bases=("llava", "tied")),
    lora("LoRA on the vision tower", target_modules=r".*vision_tower.*\.(q_proj|fc1)"),
    lora("LoRA on all linear layers", target_modules="all-linear"),
    lora("LoRA, `save_embedding_layers`", saved={"save_embedding_layers": True}),
    lora("LoRA started by PiSSA", init_lora_weights="pissa"),
    lora("LoRA started by PiSSA, `pissa_niter_4`", init_lora_weights="pissa_niter_4"),
    lora("LoRA started by OLoRA", init_lora_weights="olora"),
    lora("LoRA started by EVA", init_lora_weights="eva"),
    lora("LoRA started orthogonally", init_lora_weights="orthogonal"),
    lora("LoRA started by MiCA", init_lora_weights="mica"),
    lora("LoRA, KaSA", kasa_config=peft.KasaConfig()),
    lora("LoRA, VeLoRA", velora_config=peft.VeloraConfig()),
    lora("LoRA, MonteCLoRA", monteclora_config=peft.MontecloraConfig()),
    Kind(name="LoRA, aLoRA", make=alora, needs_base=True),
    other("AdaLoRA", "AdaLoraConfig", init_r=6, target_r=4, total_step=10),
    other("LoHa", "LoHaConfig", r=4),
    other("LoKr", "LoKrConfig", r=4),
    other("IA3", "IA3Config", feedforward_modules=r".*language_model.*\.down_proj"),
    other("OFT", "OFTConfig", oft_block_size=8),
    other("BOFT", "BOFTConfig", boft_block_size=4),
    other("VeRA", "VeraConfig", r=4),
    other("VeRA, `save_projection: false`", "VeraConfig", r=4, save_projection=False),
    other("PVeRA", "PveraConfig"),
    other("RandLoRA", "RandLoraConfig", r=4),
    other("VB-LoRA", "VBLoRAConfig", r=4, num_vectors=8, vector_length=8),
    other("LN tuning", "LNTuningConfig", target_modules=r".*language_model.*(input_layernorm|norm)"),
    other("trainable tokens", "TrainableTokensConfig", token_indices=[65, 66], target_modules=["embed_tokens"]),
    other("HRA", "HRAConfig", r=4),
    other("FourierFT", "FourierFTConfig", n_frequency=20),
    other("WaveFT", "WaveFTConfig", n_frequency=20),
    other("MiSS", "MissConfig", r=4),
    other("C3A", "C3AConfig", block_size=8),
    other("SHiRA", "ShiraConfig", r=4),
    other("RoAd", "RoadConfig", group_size=8),
    other("OSF", "OSFConfig"),
    other("DeLoRA", "DeloraConfig"),
    other("GraLoRA", "GraloraConfig"),
    other("HiRA", "HiraConfig"),
    other("DEFT", "DeftConfig"),
    other("Lily", "LilyConfig"),
    other("BEFT", "BeftConfig"),
    other("FRoD", "FrodConfig"),
    other("GLoRA", "GloraConfig"),
    other("UniLoRA", "UniLoraConfig"),
    other("TinyLoRA", "TinyLoraConfig"),
    other("PSOFT", "PsoftConfig"),
    other("PEANuT", "PeanutConfig"),
    other("SuperTuning", "SupertuningConfig"),
]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What became of one kind on one base model."""

    kind: Kind
    base: str
    own: bool
    """Whether its scores are those of plain PEFT on a fresh base model, exactly."""
    acts: bool
    """Whether they are others than the base model's."""
    base_after: bool
    """Whether the base model, asked after it, scores as it does alone, exactly."""
    plain_after: bool
    """Whether a plain adapter does."""
    reloads: int
    """How often the base model was loaded again."""


class Bench:
    """One base model, on which kind after kind is scored; what one leaves behind, all later ones meet.

    Args:
        folder: for models and adapters.
        name: which base model: *llava*, *qwen*, *tied* (embeddings are the head too), or *4bit*.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        model = tiny_vlm.save(folder / "base", "qwen" if name == "qwen" else "llava")
        if name == "tied":
            tie(model)
        self.config = ModelConfig(model_name_or_path=str(model), dtype="float32", load_in_4bit=name == "4bit")
        self.plain = self.adapter(KINDS[0], "plain", seed=9)
        self.loaded = load_base(self.config)
        self.alone, self.plain_alone = self.fresh(None), self.fresh(self.plain)

    def adapter(self, kind: Kind, name: str, seed: int = 1) -> Path:
        """An adapter of a kind, all its trained tensors moved at random."""
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what PEFT thinks of small ranks, tied weights and the like
            tuned = get_peft_model(load_base(self.config).model, kind.make(Path(self.config.model_name_or_path)))
            with torch.no_grad():
                for tensor in tuned.parameters():
                    if tensor.requires_grad:
                        tensor.add_(torch.randn_like(tensor) * 0.2)
            tuned.save_pretrained(self.folder / name, **kind.settings)
        return self.folder / name

    def fresh(self, adapter: Path | None) -> list[RawAnswer]:
        """Scores by plain PEFT on a base model of its own."""
        loaded = load_base(self.config)
        model = loaded.model
        if adapter is not None:
            torch.manual_seed(0)  # for those whose start is random
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = PeftModel.from_pretrained(model, str(adapter)).eval()
        return score(loaded, model)

    def shared(self, adapter: Path | None) -> list[RawAnswer]:
        """Scores as tvt gets them, on the base model that all share."""
        with attached(self.loaded, None if adapter is None else check_adapter(adapter)) as model:
            return score(self.loaded, model)

    def measure(self, kind: Kind) -> Measured:
        """Score an adapter of a kind, then the base model and a plain adapter."""
        adapter = self.adapter(kind, f"adapter-{KINDS.index(kind)}")
        expected, before = self.fresh(adapter), self.loaded.reloads
        own = self.shared(adapter)
        return Measured(
            kind=kind,
            base=self.name,
            own=own == expected,
            acts=own != self.alone,
            base_after=self.shared(None) == self.alone,
            plain_after=self.shared(self.plain) == self.plain_alone,
            reloads=self.loaded.reloads - before,
        )


def tie(folder: Path) -> None:
    """Make a saved model's head its embeddings."""
    config = AutoConfig.from_pretrained(folder)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    tiny_vlm.louder(model, AutoTokenizer.from_pretrained(folder))
    model.save_pretrained(folder)


def score(loaded: Loaded, model: Any) -> list[RawAnswer]:
    scorer = Scorer(loaded, SETTINGS)
    found = {}
    for batch in compose(QUESTIONS, SETTINGS.batch_size):
        found |= dict(zip(batch, scorer.score(model, [QUESTIONS[k] for k in batch]), strict=True))
    return [found[k] for k in range(len(QUESTIONS))]


def table(measured: Iterable[Measured]) -> list[str]:
    """The table of the page on adapters: every kind that was measured, then those that are refused."""
    by_name: dict[str, list[Measured]] = {}
    for one in measured:
        by_name.setdefault(one.kind.name, []).append(one)
    rows = ["| kind | its scores | the base model afterwards |", "|---|---|---|"]
    for name, found in by_name.items():
        own = "those of plain PEFT" if all(one.own for one in found) else "DIFFER from plain PEFT's"
        after = "loaded again" if any(one.reloads for one in found) else "put back"
        rows.append(f"| {name} | {own} | {after if all(one.base_after and one.plain_after for one in found) else 'CHANGED'} |")
    reasons: dict[str, list[str]] = {}
    for kind, reason in REFUSED.items():
        reasons.setdefault(reason, []).append(f"`{kind}`")
    rows += [f"| {', '.join(kinds)} | refused: it {reason} | |" for reason, kinds in reasons.items()]
    for start in REFUSED_STARTS:
        reason = refusal({"peft_type": "LORA", "init_lora_weights": start})
        rows.append(f"| LoRA with `init_lora_weights: {start}` | refused: it {reason} | |")
    return rows
