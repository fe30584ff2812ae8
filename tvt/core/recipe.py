"""A recipe: everything that says how the runs of a study are trained and scored. Names are TRL's where TRL has the option.

Every field says whether it changes results or is runtime only; the digest of the first kind names a run, so that rerunning a
recipe finds what is done, and changing a result-relevant field makes new runs. A test fails on a field without that mark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from tvt.core.choices import EXECUTORS, PROMPTS
from tvt.core.scores import PlaceboKind, placebo_name
from tvt.core.task import printable
from tvt.core.values import MOST_EXAMPLES, FrozenModel

RESULTS: dict[str, Any] = {"effect": "results"}
LATER: dict[str, Any] = {**RESULTS, "default": "left out of identities"}
RUNTIME: dict[str, Any] = {"effect": "runtime"}

REMOVED = ("vision_cache", "vision_cache_gb")
"""Fields of ``runtime`` in version 0.1.0 that no longer do anything."""

Part = Literal["language_model", "projector", "vision_tower"]
"""A part of a vision-language model; the projector is what joins the other two, e.g. Qwen-VL's merger."""
PARTS: tuple[Part, ...] = ("language_model", "projector", "vision_tower")

AUTOMATIC_LOADERS = 4
"""At most so many loader workers a process where a recipe does not say how many: enough for photographs on one fast GPU."""


def results(default: Any = ..., **limits: Any) -> Any:
    """A field that changes results."""
    return Field(default, json_schema_extra=RESULTS, **limits)


def later(default: Any, **limits: Any) -> Any:
    """A field that changes results and came after there were runs: its default stands in no identity, so theirs stay."""
    return Field(default, json_schema_extra=LATER, **limits)


def runtime(default: Any = ..., **limits: Any) -> Any:
    """A field that changes only where and how fast a run happens."""
    return Field(default, json_schema_extra=RUNTIME, **limits)


class Settings(FrozenModel):
    """A part of a recipe. The text below a field is its description: ``tvt recipe fields`` and the docs' table show it."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ModelConfig(Settings):
    """The base model."""

    model_name_or_path: str = results()
    """Hub name or folder of any AutoModelForImageTextToText."""
    revision: str | None = results(None)
    """Hub revision; pin it."""
    dtype: Literal["float32", "bfloat16", "float16"] = results("bfloat16")
    """Precision in which the base model is loaded."""
    load_in_4bit: bool = results(False)
    """QLoRA: nf4 with double quantisation."""
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = results("sdpa")
    """How attention is computed, in transformers' names."""
    freeze_vision: bool = results(True)
    """Train the language model alone; false: projector and vision tower, too. ``training.parts`` is finer."""
    max_pixels: int | None = later(None, ge=1)
    """Pictures with more pixels are scaled down to so many before the model's processor, in training and in scoring; default:
    they stay as they are."""
    min_pixels: int | None = later(None, ge=1, le=89_478_485)
    """Pictures with fewer pixels are scaled up to so many, likewise; default: they stay as they are."""

    @model_validator(mode="after")
    def _ordered(self) -> ModelConfig:
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is more than max_pixels {self.max_pixels}; lower it")
        return self

    def shown_pixels(self, pixels: float) -> float:
        """About how many pixels are shown of a picture with so many."""
        return min(max(pixels, self.min_pixels or 0), self.max_pixels or math.inf)


class LoraSettings(Settings):
    """The adapter."""

    lora_r: int = results(8, ge=1)
    """The adapter's rank."""
    lora_alpha: int = results(16, ge=1)
    """Its scale is this number over the rank."""
    lora_dropout: FiniteFloat = results(0.0, ge=0, lt=1)
    """Dropout of its input while it trains."""
    lora_target_modules: str | tuple[str, ...] | None = results(None)
    """Module names or a regular expression; default: all linear layers of the parts that train."""
    use_rslora: bool = later(False)
    """Scale by ``lora_alpha`` over the root of the rank (rsLoRA), in PEFT's name."""
    use_dora: bool = later(False)
    """Train the norm of each weight's rows as well (DoRA), in PEFT's name."""
    modules_to_save: tuple[str, ...] | None = later(None)
    """Modules that are trained as a whole beside the adapter and saved with it, in PEFT's name, e.g. ``[lm_head]``."""


class TrainingConfig(Settings):
    """One run's training, in TRL's and transformers' names."""

    method: Literal["lora", "full"] = later("lora")
    """*lora*: an adapter. *full*: the weights themselves, of the parts that train; see ``runtime.keep`` for what stays."""
    parts: Annotated[tuple[Part, ...], Field(min_length=1)] | None = later(None)
    """Which parts train: some of *language_model*, *projector* and *vision_tower*; default: as ``model.freeze_vision`` says."""
    learning_rate: FiniteFloat = results(1e-4, gt=0)
    """The highest learning rate of the schedule."""
    max_length: int | None = runtime(None, ge=1)
    """The most tokens that a row may have, pictures and answer included. Nothing is ever cut: a longer row is refused, by its
    name, before training starts. Default: as many as the model has positions."""
    num_train_epochs: FiniteFloat = results(1.0, gt=0)
    """Passes over the rows of a run; a fraction is allowed."""
    global_batch_size: int = results(32, ge=1)
    """Examples per optimiser step over all processes; steps of a device follow from it."""
    per_device_train_batch_size: int = runtime(8, ge=1)
    """Examples per forward pass; gradient accumulation makes up the global batch."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = results("cosine")
    """Course of the learning rate after the warm-up."""
    warmup_ratio: FiniteFloat = results(0.03, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: FiniteFloat = results(0.0, ge=0)
    """Weight decay of the optimiser."""
    max_grad_norm: FiniteFloat = results(1.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""
    neftune_noise_alpha: FiniteFloat | None = later(None, gt=0)
    """Add noise of this size to the embeddings while training (NEFTune), in transformers' name."""
    use_liger_kernel: bool = later(False)
    """Compute layers by Liger's kernels, in transformers' name; needs a GPU and liger-kernel."""
    optim: str = results("adamw_torch")
    """The optimiser, as transformers names it."""
    gradient_checkpointing: bool | None = runtime(None)
    """Compute activations a second time instead of keeping them: less memory, a third more time. Default: only where the
    estimate of memory says that the largest rows need it on the GPU at hand."""
    logging_steps: int = runtime(10, ge=1)
    """Steps between two lines of loss."""
    save_steps: int = runtime(200, ge=1)
    """Steps between checkpoints from which an interrupted run resumes."""

    @field_validator("parts")
    @classmethod
    def _in_order(cls, given: tuple[Part, ...] | None) -> tuple[Part, ...] | None:
        return None if given is None else tuple(part for part in PARTS if part in given)


class EvaluationConfig(Settings):
    """How runs are scored."""

    mode: Literal["options", "generate"] = results("options")
    """*options*: score the option letters in one forward pass. *generate*: let the model answer and extract the letter. Numbers
    are generated in both; free text takes *generate*."""
    max_new_tokens: int = results(16, ge=1)
    """Longest generated answer: for *generate*, and for open-ended questions."""
    prompt: str = results("dataset", min_length=1)
    """How questions are put: *dataset* (images, then the row's own prompt, as in training), *official* (as BLINK's code asks),
    *letter* (with a note that asks for the letter alone), or the file of a jinja2 template."""
    batch_size: int = runtime(16, ge=1)
    """Questions in a forward pass."""
    questions: int | None = results(None, ge=1)
    """At most so many questions of each target; default: all."""
    backend: Literal["local", "endpoint"] = later("local")
    """Who answers: *local*, the model on this machine; *endpoint*, a server of OpenAI's chat completions (see
    ``runtime.endpoint``), for generated answers alone. Its rounding differs, so that runs are scored anew."""

    @model_validator(mode="after")
    def _answerable(self) -> EvaluationConfig:
        if self.backend == "endpoint" and self.mode != "generate":
            raise ValueError("backend endpoint gives texts, not the likelihoods which mode options needs; set mode generate")
        return self


class WarningSettings(Settings):
    """From when on a score is doubtful, since it measures habits of answering rather than what the model sees.

    The one place of these thresholds: every command that shows a score warns by them, and shows the threshold with the warning.
    """

    letter_share: FiniteFloat = runtime(0.95, gt=0, le=1)
    """*Collapse*: one letter is given to at least this share of the questions with options ..."""
    letter_excess: FiniteFloat = runtime(0.2, ge=0, le=1)
    """... and to so many more of them than it is right for; 1 turns the warning off."""
    letter_mass: FiniteFloat = runtime(0.5, ge=0, le=1)
    """The mean probability of an option letter as the next token is below this; 0 turns the warning off."""
    unread: FiniteFloat = runtime(0.1, ge=0, le=1)
    """More than this share of the answers could not be read; 1 turns the warning off."""
    questions: int = runtime(10, ge=1)
    """Cells with fewer questions are left alone: on four with two options, one model in eight that guesses gives one letter."""


class SlurmConfig(Settings):
    """What a run asks of Slurm, beside its machines and GPUs, which follow from ``num_machines`` and ``num_processes``."""

    partition: str | None = runtime(None)
    """Partition of a run's job."""
    account: str | None = runtime(None)
    """Account that the job is charged to."""
    qos: str | None = runtime(None)
    """Quality of service of the job."""
    timeout_min: int = runtime(240, ge=1)
    """Time limit of a run, in minutes; one that meets it is requeued and goes on from its last whole checkpoint."""
    signal_delay_s: int = runtime(90, ge=1)
    """Seconds before the time limit at which a run receives the signal to stop."""
    gpus_per_node: int | None = runtime(None, ge=0)
    """Default: as many as a run has processes on a machine; 0 on a cluster without GPUs."""
    cpus_per_task: int | None = runtime(None, ge=1)
    """Cores of a run on each machine; default: those of its processes and their loaders."""
    mem_gb: FiniteFloat | None = runtime(None, gt=0)
    """Memory of a run on each machine."""
    array_parallelism: int = runtime(64, ge=1)
    """At most so many runs in the queue or at work at once."""
    setup: tuple[str, ...] = runtime(())
    """Shell lines before a run, such as ``module load cuda``."""
    additional_parameters: dict[str, str | int] = runtime({})
    """More options of sbatch, e.g. ``constraint: h100``."""


class RayConfig(Settings):
    """Where Ray is, and what a run asks of it."""

    address: str | None = runtime(None)
    """Of a cluster, e.g. ``10.0.0.1:6379`` or ``auto``; default: ``RAY_ADDRESS``, else a cluster of this machine alone."""
    gpus_per_run: int | None = runtime(None, ge=0)
    """Default: as many as a run has processes, where the cluster has GPUs."""
    cpus_per_run: int | None = runtime(None, ge=1)
    """Default: as many as a run has processes."""


class EndpointConfig(Settings):
    """The server that answers where ``evaluation.backend`` is *endpoint*."""

    address: str | None = runtime(None)
    """Of its chat completions, e.g. ``http://gpu7:8000/v1``. The environment's ``OPENAI_API_KEY`` is sent where it is set."""
    models: dict[str, str] = runtime({})
    """Names that the server has for the base model (by ``model_name_or_path``) or an adapter's folder; default: the base by its
    own name, an adapter by ``tvt-`` and the first 16 letters of its digest, which vLLM is asked to load."""
    concurrency: int = runtime(16, ge=1, le=1024)
    """Questions that are asked at once."""
    patience_s: FiniteFloat = runtime(300.0, gt=0)
    """A question is asked again for so many seconds where the server is busy or away."""


class RuntimeConfig(Settings):
    """Where and how a run happens; nothing here changes results."""

    num_processes: int = runtime(1, ge=1)
    """Processes of a run over all its machines."""
    num_machines: int = runtime(1, ge=1)
    """Machines of a run, which share the processes evenly."""
    main_process_ip: str | None = runtime(None)
    """Address of machine 0, for ``tvt train`` on several machines."""
    main_process_port: int | None = runtime(None, ge=1, le=65535)
    """A free port there."""
    deepspeed: str | None = runtime(None)
    """A DeepSpeed configuration file, e.g. recipes/deepspeed/zero2.json."""
    report_to: tuple[str, ...] = runtime(())
    """Trackers that TRL reports to, as transformers names them: one, e.g. ``wandb``, or a list. Default: nothing is sent."""
    dataloader_num_workers: int | None = runtime(None, ge=0)
    """Processes that decode and prepare batches beside each training process; default: up to 4 on a GPU, as cores and shared
    memory allow, and none without."""
    keep: Literal["adapters", "scores", "all"] = runtime("adapters")
    """What a study keeps of a run once it is scored. *adapters*: those, while the weights of a full finetuning are dropped.
    *scores*: neither. *all*: full weights, too, a whole model for each run. What was dropped is trained anew where a run has to
    be scored on more."""
    lmms_eval_python: str | None = runtime(None)
    """Python of the environment that has lmms-eval, for its targets; default: `TVT_LMMS_EVAL_PYTHON`, else tvt's own."""
    executor: str = runtime(EXECUTORS.default)
    """Who does a study's runs: this machine's device slots, Slurm, or a Ray cluster."""
    endpoint: EndpointConfig = EndpointConfig()
    slurm: SlurmConfig = SlurmConfig()
    ray: RayConfig = RayConfig()

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_tracker(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("executor")
    @classmethod
    def _known(cls, name: str) -> str:
        return EXECUTORS.check(name)

    @model_validator(mode="before")
    @classmethod
    def _without_removed(cls, given: Any) -> Any:
        """Recipes of version 0.1.0 and those in its study folders may hold removed fields; none of them changed results."""
        return {name: value for name, value in given.items() if name not in REMOVED} if isinstance(given, dict) else given


class Recipe(Settings):
    """A study's recipe. ``sources`` and ``targets`` are task names; a target need not be a source."""

    name: str = runtime(min_length=1, max_length=100)
    """The study's name."""
    model: ModelConfig
    sources: tuple[str, ...] = runtime(min_length=1)
    """Tasks to train on, one run each. Which other runs there are does not change a run."""
    targets: tuple[str, ...] = runtime(min_length=1)
    """Tasks to score on."""
    manifests: tuple[str, ...] = runtime(())
    """Folders or files with task manifests of your own, beside the bundled ones."""
    datasets: dict[str, str] = runtime({})
    """Folders of local copies by the dataset's name on the hub, e.g. ``BLINK-Benchmark/BLINK: /data/BLINK``."""
    data_dir: str | None = runtime(None)
    """Folder of training rows: a task whose manifest has none takes ``Task.parquet``, ``Task.jsonl`` or ``Task/`` there."""
    budget: Annotated[int, Field(ge=1, le=MOST_EXAMPLES)] = results(1000)
    """Training examples of a run."""
    seeds: tuple[int, ...] = runtime((0, 1), min_length=1)
    """One run per source and seed; the seed decides the rows, their order and the adapter's start."""
    doses: tuple[FiniteFloat, ...] = runtime((1.0,), min_length=1)
    """Fractions of the budget, for the dose-response; 1, the study itself, is among them."""
    max_source_epochs: FiniteFloat | None = runtime(10.0, gt=0)
    """A run on one source passes over its rows at most so often: on a source with few rows it takes fewer examples than the
    budget, and its cells are of that dose; null: no limit. It makes other runs only of the sources that it limits."""
    placebo: tuple[PlaceboKind, ...] = runtime(())
    """Runs that teach nothing of any task, one per kind and seed, on the rows of all sources in equal shares: *shuffled*
    (answers of chance) and *format* (another task's prompt, and an answer of chance among its options)."""
    lora: LoraSettings = LoraSettings()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    warnings: WarningSettings = WarningSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        faults = [] if printable(self.name) else ["name: holds a control character or a line separator; remove it"]
        faults += [
            f"{name}: '{item}' stands twice; keep one"
            for name in ("sources", "targets", "seeds", "doses", "placebo")
            for item in dict.fromkeys(i for i in getattr(self, name) if getattr(self, name).count(i) > 1)
        ]
        faults += self._impossible_placebos()
        faults += self._impossible_methods()
        faults += [
            f"doses: {dose:g} is not in (0, 1]; a dose is a fraction of the budget" for dose in self.doses if not 0 < dose <= 1
        ]
        if 1.0 not in self.doses:
            faults.append("doses: 1 is missing; the study itself is at the full budget, doses are further runs at less")
        per_pass = self.training.per_device_train_batch_size * self.runtime.num_processes
        if self.training.global_batch_size % per_pass:
            faults.append(
                f"training.global_batch_size {self.training.global_batch_size} is no multiple of per_device_train_batch_size x "
                f"num_processes = {per_pass}; change one of them"
            )
        if self.runtime.num_processes % self.runtime.num_machines:
            faults.append(
                f"runtime.num_processes {self.runtime.num_processes} cannot be shared evenly by {self.runtime.num_machines} "
                "machines; change one of them"
            )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _impossible_placebos(self) -> Iterator[str]:
        """Why the placebos asked for cannot be made of these sources."""
        count = len(self.sources)
        if "format" in self.placebo and count < 2:
            yield "placebo: format takes the prompts of another task, and there is one source; add a source, or drop it"
        if self.placebo and self.budget < count:
            yield f"placebo: the budget of {self.budget} is less than an example of each of the {count} sources; raise it"
        names = {placebo_name(kind) for kind in self.placebo}
        for task in sorted(names.intersection((*self.sources, *self.targets))):
            yield f"placebo: '{task}' names the placebo's runs, and a task too; rename the task"

    def _impossible_methods(self) -> Iterator[str]:
        """What contradicts the way of training."""
        if self.training.parts is not None and not self.model.freeze_vision:
            yield "model.freeze_vision: false trains all parts, and training.parts names some; leave one of them out"
        if self.evaluation.backend == "endpoint":
            yield from self._unserved()
        if self.training.method == "lora":
            return
        if self.model.load_in_4bit:
            yield "training.method: full cannot train weights of 4 bits; take method lora, or leave model.load_in_4bit out"
        plain = LoraSettings()
        for name in ("lora_target_modules", "use_rslora", "use_dora", "modules_to_save"):
            if getattr(self.lora, name) != getattr(plain, name):
                yield f"lora.{name} is of adapters, and training.method is full; leave it out"

    def _unserved(self) -> Iterator[str]:
        """Why an endpoint cannot serve what this recipe trains; vLLM puts plain LoRA on the language model alone."""
        what = "evaluation.backend: endpoint"
        if self.runtime.endpoint.address is None:
            yield f"{what} needs an address; set runtime.endpoint.address"
        if self.training.method == "full":
            yield f"{what} serves adapters, and training.method is full; take backend local"
        elif self.trained_parts != {"language_model"}:
            yield f"{what} serves adapters of the language model alone, and others train, too; take backend local"
        for name in ("use_dora", "modules_to_save"):
            if getattr(self.lora, name):
                yield f"{what} serves no adapters with lora.{name}; take backend local"

    @property
    def trained_parts(self) -> frozenset[Part]:
        """The parts of the model that train."""
        return frozenset(self.training.parts or (PARTS[:1] if self.model.freeze_vision else PARTS))

    @property
    def drops_weights(self) -> bool:
        """Whether a study drops what a run trained once it is scored."""
        return self.runtime.keep == "scores" or (self.runtime.keep == "adapters" and self.training.method == "full")

    @property
    def gradient_accumulation_steps(self) -> int:
        """Forward passes per optimiser step on each process."""
        return self.training.global_batch_size // (self.training.per_device_train_batch_size * self.runtime.num_processes)

    def training_identity(self) -> dict[str, Any]:
        """What decides a trained adapter, beside its mixture's rows and its seed: plain values for a digest."""
        parts = ("model", "lora", "training") if self.training.method == "lora" else ("model", "training")
        return {part: identity(getattr(self, part)) for part in parts}

    def evaluation_identity(self) -> dict[str, Any]:
        """What decides a score, beside the adapter and the questions; the prompt where it is not the dataset's own."""
        fields = identity(self.evaluation)
        return {name: value for name, value in fields.items() if (name, value) != ("prompt", PROMPTS.default)}


def identity(part: BaseModel) -> dict[str, Any]:
    """The fields of ``part`` that change results, as plain values."""
    plain = part.model_dump(mode="json")
    return {
        name: plain[name]
        for name, field in type(part).model_fields.items()
        if field.json_schema_extra == RESULTS or (field.json_schema_extra == LATER and getattr(part, name) != field.default)
    }


class RecipeField(NamedTuple):
    """A field of a recipe, as ``tvt recipe fields`` and the docs show it."""

    name: str
    """With its part, e.g. ``training.learning_rate``."""
    effect: str
    """``results`` or ``runtime``."""
    default: str
    """As YAML has it; empty where a recipe must say it."""
    description: str


def recipe_fields(model: type[BaseModel] = Recipe, part: str = "") -> Iterator[RecipeField]:
    """Every field of a recipe in order, those of its parts in place of the part."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from recipe_fields(kind, f"{part}{name}.")
            continue
        default = "" if field.is_required() else _as_yaml(field.default)
        effect = dict(field.json_schema_extra)["effect"] if isinstance(field.json_schema_extra, dict) else ""
        yield RecipeField(f"{part}{name}", str(effect), default, " ".join((field.description or "").replace("``", "`").split()))


def _as_yaml(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(map(_as_yaml, value))}]"
        case float():
            return f"{value:g}"
        case _:
            return str(value)
