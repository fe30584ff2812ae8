"""TRL's SFTTrainer with guards and a meter, and whether activations are computed a second time where the recipe leaves that
open: only if the device's memory needs it. Nothing that is not finite reaches the weights, and every save is checked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import DataLoader, Sampler
from transformers import AutoModelForImageTextToText, TrainerCallback
from trl import SFTTrainer

from tvt.core.recipe import ModelConfig, Recipe
from tvt.errors import InputError, TrainingError
from tvt.io.adapter_file import WEIGHTS, check_full_weights, check_weights
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
        self.own_settings: tuple[Any, Any] = (None, None)
        """Configuration and generation settings of the base model, which transformers aligns with the tokenizer's tokens."""
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

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Go on from a checkpoint's weights. Those of a whole model have the names of published files, of which transformers'
        own code (5.24) would find none in the model, and go on from the base model's weights in silence.
        """
        if isinstance(self.model, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            read_weights(self.model, Path(resume_from_checkpoint))

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
    """Checks what every checkpoint saved against the model in memory, then writes the record that allows to resume."""

    def __init__(self, job: TrainingJob, model: torch.nn.Module, barrier: Callable[[], None]) -> None:
        self._job, self._barrier = job, barrier
        full = job.recipe.training.method == "full"
        self._expected = numbers_of(model) if full else adapter_shapes(model)

    def on_save(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Called in every process once its part is written."""
        self._barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            check_saved(folder, self._expected)
            write_checkpoint_record(folder, self._job, state.global_step)
        self._barrier()


def check_saved(folder: Path, expected: dict[str, tuple[int, ...]] | int) -> None:
    """Check what was just saved.

    Args:
        folder: where.
        expected: shapes of an adapter, or how many numbers a whole model has.

    Raises:
        TrainingError: it is not what is in memory.
    """
    try:
        if isinstance(expected, int):
            check_full_weights(folder, expected)
        else:
            check_weights(folder / WEIGHTS, expected)
    except InputError as error:
        raise TrainingError(
            f"{error.faults[0]} (what was saved is not what was trained; under ZeRO-3 the configuration needs "
            "stage3_gather_16bit_weights_on_model_save)"
        ) from error


def read_weights(model: Any, folder: Path) -> None:
    """Put the weights of a saved model into one of the same kind, in whose precision each is.

    Raises:
        TrainingError: some are missing.
    """
    library: Any = AutoModelForImageTextToText
    saved, report = library.from_pretrained(str(folder), dtype=torch.float32, use_safetensors=True, output_loading_info=True)
    weights, own = saved.state_dict(), model.state_dict()
    if missing := sorted({*report["missing_keys"], *(own.keys() - weights.keys())}):
        raise TrainingError(f"{folder}: {len(missing)} weights are missing, e.g. {missing[0]}; delete this checkpoint")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])


def adapter_shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Keys and shapes that the saved adapter must have, from the weights that are trained; ZeRO-3 keeps shapes aside."""
    return {
        _saved_name(name): tuple(getattr(weight, "ds_shape", weight.shape))
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def _saved_name(name: str) -> str:
    """The name under which PEFT saves a weight."""
    name = name.replace(".lora_magnitude_vector.default.weight", ".lora_magnitude_vector")
    return name.replace(".modules_to_save.default.", ".").replace(".default.", ".")


def numbers_of(model: torch.nn.Module) -> int:
    """How many numbers a whole model saves; a matrix that two layers share counts once. ZeRO-3 keeps their count aside."""
    held: Any = [*model.parameters(), *_saved_buffers(model)]
    return sum(getattr(weight, "ds_numel", weight.numel()) for weight in held)


def _saved_buffers(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                yield buffer


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
