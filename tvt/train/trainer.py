"""The base model as it is trained, and TRL's SFTTrainer with guards and a meter.

Of the model: where the adapter goes, no gradients in parts in which nothing is trained, and whether activations are computed a
second time where the recipe leaves that open: only if the device's memory needs it. Of the trainer: nothing that is not finite
reaches the weights, and every save is checked.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel, TrainerCallback
from trl import SFTTrainer

from tvt.core.recipe import ModelConfig, Recipe
from tvt.errors import InputError, TrainingError
from tvt.io.adapter_file import WEIGHTS, check_weights
from tvt.model.needs import USABLE, Shape, read_shape, training_needs
from tvt.train.batches import Collator, Order
from tvt.train.checkpoints import write_checkpoint_record
from tvt.train.loader import Prepare, checked, end_workers, loader
from tvt.train.record import TrainingJob, TrainingProgress
from tvt.train.rows import Examples

ADVICE = "lower training.learning_rate or training.max_grad_norm, or train in bfloat16 or float32"


class Batches(Sampler[list[int]]):
    """The forward passes of one process."""

    def __init__(self, order: Order, process: int, lengths: Sequence[int]) -> None:
        self._batches = order.batches(process, lengths)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class GuardedTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains on rows in a fixed order, and stops before a step that is not finite."""

    def __init__(self, *, examples: Examples, order: Order, lengths: Sequence[int], collator: Collator, **options: Any) -> None:
        self._examples, self._order, self._lengths = examples, order, lengths
        self._under_way: Iterator[Any] | None = None
        super().__init__(data_collator=collator, **options)
        # TRL's loss counts the tokens of the whole global batch if it gets their number, which transformers does only for
        # models that say so. Without, every forward pass would weigh the same, however few answers it has.
        self.model_accepts_loss_kwargs = True

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's batches. The order divides them; accelerate would repeat rows to make the last batch even."""
        return loader(
            Prepare(self._examples, self.data_collator),
            len(self._examples),
            Batches(self._order, self.args.process_index, self._lengths),
            workers=self.args.dataloader_num_workers,
            ahead=self.args.gradient_accumulation_steps,
            pinned=self.args.dataloader_pin_memory,
        )

    def get_batch_samples(self, epoch_iterator: Any, *args: Any, **options: Any) -> Any:
        """The batches of a step, and how many tokens of all processes' are trained on."""
        self._under_way = epoch_iterator
        return super().get_batch_samples(checked(epoch_iterator), *args, **options)

    def end_workers(self) -> None:
        """End what prepares batches; nothing is trained on after."""
        end_workers(self._under_way)
        self._under_way = None

    def compute_loss(self, *args: Any, **options: Any) -> Any:
        """TRL's loss, if it is finite."""
        result = super().compute_loss(*args, **options)
        loss = result[0] if isinstance(result, tuple) else result
        if not torch.isfinite(loss):
            raise TrainingError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()}; nothing was changed by it; {ADVICE}"
            )
        return result


class GradientGuard(TrainerCallback):
    """Stops before an optimiser step with a gradient that is not finite.

    DeepSpeed steps inside the backward pass, divides gradients and clears them, so there a hook on every weight checks them
    as they come, and the engine's step runs only if all were finite.
    """

    def __init__(self) -> None:
        self._bad: torch.Tensor | None = None
        self._trainer: GuardedTrainer | None = None

    def watch(self, trainer: GuardedTrainer) -> None:
        """Set whose steps to guard."""
        self._trainer = trainer
        trainer.add_callback(self)

    def on_train_begin(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Put the hooks in place, under DeepSpeed."""
        if self._trainer is None or not self._trainer.is_deepspeed_enabled:
            return
        engine, self._bad = self._trainer.model_wrapped, torch.zeros((), dtype=torch.bool, device=args.device)
        for weight in self._trainer.model.parameters():
            if weight.requires_grad:
                weight.register_hook(self._check)
        step = engine.step

        def guarded(*arguments: Any, **options: Any) -> Any:
            if not args.fp16 and bool(self._bad):
                raise TrainingError(_gradient_fault(state.global_step + 1))
            return step(*arguments, **options)

        engine.step = guarded

    def _check(self, gradient: torch.Tensor) -> None:
        if self._bad is not None:
            self._bad.logical_or_(~torch.isfinite(gradient).all())

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Check all gradients at once, without DeepSpeed. float16's loss scaling skips such steps itself."""
        if self._bad is not None or args.fp16:
            return
        gradients = [weight.grad for weight in options["model"].parameters() if weight.grad is not None]
        if gradients and not torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all():
            raise TrainingError(_gradient_fault(state.global_step + 1))


def _gradient_fault(step: int) -> str:
    return f"step {step}: a gradient is not finite; nothing was changed by it; {ADVICE}"


class CheckpointGuard(TrainerCallback):
    """Checks every checkpoint's adapter against the model in memory, then writes the record that allows to resume."""

    def __init__(self, job: TrainingJob, shapes: dict[str, tuple[int, ...]], barrier: Callable[[], None]) -> None:
        self._job, self._shapes, self._barrier = job, shapes, barrier

    def on_save(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Called in every process once its part is written."""
        self._barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            check_saved(folder, self._shapes)
            write_checkpoint_record(folder, self._job, state.global_step)
        self._barrier()


def check_saved(folder: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Check what was just saved.

    Raises:
        TrainingError: it is not what is in memory.
    """
    try:
        check_weights(folder / WEIGHTS, shapes)
    except InputError as error:
        raise TrainingError(
            f"{error.faults[0]} (what was saved is not what was trained; under ZeRO-3 the configuration needs "
            "stage3_gather_16bit_weights_on_model_save)"
        ) from error


def adapter_shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Keys and shapes that the saved adapter must have, from the weights that are trained; ZeRO-3 keeps shapes aside."""
    return {
        name.replace(".default.", "."): tuple(getattr(weight, "ds_shape", weight.shape))
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


class Meter(TrainerCallback):
    """Measures the rate and reports the progress."""

    def __init__(self, order: Order, progress: Callable[[TrainingProgress], None]) -> None:
        self._order, self._progress = order, progress
        self._started = self._first = 0.0
        self.seconds = 0.0
        self.rows_per_second = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Start the clock; a resumed run counts its own steps only."""
        self._started, self._first = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **options: Any) -> None:
        """Report how far the run has come."""
        self._measure(state.global_step)
        if logs is None or "loss" not in logs:
            return
        done = max(state.global_step - self._first, 1)
        self._progress(
            TrainingProgress(
                step=state.global_step,
                steps=self._order.steps,
                loss=float(logs["loss"]),
                learning_rate=float(logs["learning_rate"]),
                rows_per_second=self.rows_per_second,
                seconds_left=self.seconds / done * (self._order.steps - state.global_step),
            )
        )

    def on_train_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Stop the clock."""
        self._measure(state.global_step)

    def _measure(self, step: int) -> None:
        self.seconds = time.monotonic() - self._started
        batch = self._order.global_batch
        rows = min(step * batch, self._order.total) - min(self._first * batch, self._order.total)
        self.rows_per_second = rows / self.seconds if self.seconds > 0 else 0.0


_LOG = logging.getLogger(__name__)


def check_dtype(config: ModelConfig) -> None:
    """Refuse a precision that the hardware does not have, rather than train in another.

    Raises:
        TrainingError: bfloat16 on a GPU without it, float16 without a GPU.
    """
    if config.dtype == "bfloat16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise TrainingError("this GPU has no bfloat16; train with --set model.dtype=float16 or float32")
    if config.dtype == "float16" and not torch.cuda.is_available():
        raise TrainingError("float16 needs a GPU; train with --set model.dtype=bfloat16 or float32")


def lora_config(model: PreTrainedModel, recipe: Recipe) -> LoraConfig:
    """The adapter's configuration, with every module it goes into by its full name.

    Raises:
        InputError: no module fits what the recipe names.
    """
    settings = recipe.lora
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=target_modules(model, settings.lora_target_modules, freeze_vision=recipe.model.freeze_vision),
        task_type="CAUSAL_LM",
    )


def target_modules(model: PreTrainedModel, requested: str | tuple[str, ...] | None, *, freeze_vision: bool) -> list[str]:
    """Names of the linear layers that get an adapter: the language model's only, unless the vision tower is trained too."""
    untyped: Any = model
    decoder, head = untyped.get_decoder(), untyped.get_output_embeddings()
    inside = {id(module) for module in decoder.modules()} if freeze_vision and decoder is not model else None
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and (inside is None or id(module) in inside)
    ]
    if freeze_vision and inside is None:  # a model that names no decoder
        linear = [name for name in linear if not re.search(r"vision|visual|image|projector|connector", name)]
    matches = [name for name in linear if _is_requested(name, requested)]
    if not matches:
        where = "the language model" if freeze_vision else "the model"
        known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
        raise InputError(f"lora.lora_target_modules: nothing in {where} fits {requested!r}; its linear layers: {known}")
    return matches


def _is_requested(name: str, requested: str | tuple[str, ...] | None) -> bool:
    if requested is None:
        return True
    if isinstance(requested, str):
        return re.fullmatch(requested, name) is not None or name.rsplit(".", 1)[-1] == requested
    return any(name == item or name.endswith(f".{item}") for item in requested)


def spare_frozen_parts(model: PreTrainedModel, trained: Collection[str]) -> None:
    """Let the model's ``enable_input_require_grads`` work on those of its parts alone in which something is trained.

    Reentrant checkpointing differentiates a layer only if one of its inputs needs a gradient. So PEFT, TRL and transformers
    (written against 5.24) make the outputs of *all* input embeddings need one, a frozen vision tower's too. There it only sends
    the backward pass through all of the tower, for gradients that are never used. In a few towers that *are* trained they find
    no embeddings, and such towers would not learn.

    Args:
        model: the base model, before PEFT or TRL touch it.
        trained: full names of the modules that get an adapter.
    """
    untyped: Any = model
    embeddings = _embeddings(model, trained)

    def enable() -> None:
        untyped.disable_input_require_grads()  # each call forgets the hooks of the one before
        untyped._require_grads_hooks = [embedding.register_forward_hook(_need_gradient) for embedding in embeddings]

    untyped.enable_input_require_grads = enable


def _embeddings(model: PreTrainedModel, trained: Collection[str]) -> list[nn.Module]:
    """Input embeddings of the model and of the models within it, as far as they hold a trained module; each once."""
    embeddings: dict[int, nn.Module] = {}
    for name, part in model.named_modules():
        inside = f"{name}." if name else ""
        if isinstance(part, PreTrainedModel) and any(module.startswith(inside) for module in trained):
            embedding = _embedding(part)
            if isinstance(embedding, nn.Module):
                embeddings[id(embedding)] = embedding
    return list(embeddings.values())


def _embedding(part: PreTrainedModel) -> Any:
    try:
        return part.get_input_embeddings()
    except NotImplementedError:  # as in the towers of Qwen3-VL, Qwen3.5 and GLM-4V
        return getattr(part, "patch_embed", None)


def _need_gradient(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
    output.requires_grad_(True)


def needs_checkpointing(
    recipe: Recipe, examples: Examples, lengths: Sequence[int], collator: Collator, config: Any, *, divided: bool
) -> bool:
    """Decide by the longest rows of the run, put through the processor: they are what one pass may have to hold.

    Args:
        recipe: where it decides, its choice is taken.
        examples: the rows.
        lengths: of the rows, in tokens.
        collator: makes tensors of them.
        config: the model's.
        divided: whether ZeRO-3 divides the weights; then it is always on, since all processes must do the same.
    """
    requested = recipe.training.gradient_checkpointing
    if requested is not None or divided:
        return bool(requested or (requested is None and divided))
    if not torch.cuda.is_available():
        return False
    free, _ = torch.cuda.mem_get_info()
    return not fits(recipe, examples, lengths, collator, config, free + torch.cuda.memory_reserved())


def fits(  # noqa: PLR0917
    recipe: Recipe, examples: Examples, lengths: Sequence[int], collator: Collator, config: Any, memory: float
) -> bool:
    """Whether a pass of the longest rows keeps all its activations within ``memory`` bytes, by a cautious estimate."""
    shape = read_shape(config.to_dict())
    if shape is None:
        return False
    longest = sorted(range(len(lengths)), key=lambda index: -lengths[index])[: recipe.training.per_device_train_batch_size]
    batch = collator([examples[index] for index in longest])
    tokens, patches = batch["input_ids"].numel(), patches_of(batch, shape)
    need = training_needs(shape, recipe, tokens, patches, checkpointing=False).total
    _LOG.debug("longest rows: %d tokens, %d patches; they need %.3g of %.3g bytes", tokens, patches, need, memory)
    return need <= USABLE * memory


def patches_of(batch: dict[str, Any], shape: Shape) -> int:
    """How many patches of pictures a batch holds; of three colours, Qwen-VL's twice, as for two frames."""
    pixels = batch.get("pixel_values")
    if pixels is None:
        return 0
    if pixels.ndim == 2:
        return int(pixels.shape[0])
    return int(pixels.numel()) // (3 * shape.patch**2)
