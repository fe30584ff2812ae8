"""TRL's SFTTrainer with guards and a meter: nothing that is not finite reaches the weights, and every save is checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler
from transformers import TrainerCallback
from trl import SFTTrainer

from tvt.errors import InputError, TrainingError
from tvt.io.adapter_file import WEIGHTS, check_weights
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
