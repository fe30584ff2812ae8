"""One process of a training run."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from transformers import PrinterCallback
from trl import SFTConfig

from tvt.core.recipe import Recipe
from tvt.errors import InputError, TrainingError
from tvt.io import atomic
from tvt.io.adapter_file import Adapter, verify_adapter, write_full_record, write_record
from tvt.io.machine import installed_version
from tvt.model.base import Loaded, load_model
from tvt.model.inputs import check_agreement
from tvt.model.loading import copy_texts, load_config, load_processor
from tvt.train.batches import Collator, Order, row_lengths
from tvt.train.checkpoints import remember_run
from tvt.train.loader import start_server, worker_count
from tvt.train.parts import lora_config, spare_frozen_parts, train_weights, trained_modules
from tvt.train.record import (
    ADAPTER,
    CARD,
    CHECKPOINTS,
    ROWS,
    TrainingJob,
    TrainingProgress,
    TrainingRecord,
    model_card,
    save_training_record,
)
from tvt.train.rows import Examples, check_rows, load_rows
from tvt.train.trainer import (
    CheckpointGuard,
    GradientGuard,
    GuardedTrainer,
    Meter,
    adapter_shapes,
    check_dtype,
    needs_checkpointing,
    numbers_of,
)
from tvt.types import silent

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed")


def run(job: TrainingJob, progress: Callable[[TrainingProgress], None], base: Loaded | None = None) -> TrainingRecord | None:
    """Train, in this one process of the run; the first process writes and returns the record.

    Args:
        job: the run.
        progress: called at every logging step, in the first process.
        base: the model to train on, which the caller puts back; default: one of its own.

    Raises:
        InputError: model or rows cannot be used.
        TrainingError: a guard stopped it.
    """
    recipe = job.recipe
    check_dtype(recipe.model)
    if torch.cuda.is_available():  # a worker may have trained other runs before
        torch.cuda.reset_peak_memory_stats()
    summary = check_rows(job.dataset)
    order = Order(
        rows=summary.rows,
        epochs=recipe.training.num_train_epochs,
        seed=job.seed,
        global_batch=recipe.training.global_batch_size,
        per_device=recipe.training.per_device_train_batch_size,
        processes=recipe.runtime.num_processes,
    )
    arguments = training_arguments(job, order)
    check_world_size(recipe, arguments.world_size)
    trainer = _trainer(job, order, arguments, base, pictures=summary.with_images > 0)
    meter = Meter(order, progress if trainer.is_world_process_zero() else silent)
    trainer.add_callback(meter)
    if trainer.is_world_process_zero():
        remember_run(job)
    try:
        trainer.train(resume_from_checkpoint=str(job.resume_from) if job.resume_from else None)
    finally:
        trainer.end_workers()
    adapter = _save(trainer, job)
    if adapter is None:
        return None
    record = TrainingRecord(
        adapter=adapter.folder,
        identity=job.identity,
        adapter_digest=adapter.digest,
        seed=job.seed,
        dataset_digest=job.dataset_digest,
        rows=order.total,
        steps=order.steps,
        epochs=recipe.training.num_train_epochs,
        losses=tuple((entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry),
        seconds=round(meter.seconds, 3),
        rows_per_second=round(meter.rows_per_second, 3),
        peak_memory_bytes=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        num_processes=arguments.world_size,
        resumed_from=int(job.resume_from.name.rsplit("-", 1)[1]) if job.resume_from else None,
        versions={name: result for name in PACKAGES if (result := installed_version(name))},
    )
    atomic.write_text(adapter.folder / CARD, model_card(job, record))
    save_training_record(record, job.output)
    for name in (CHECKPOINTS, ROWS):  # a finished run needs neither
        shutil.rmtree(job.output / name, ignore_errors=True)
    return record


def check_world_size(recipe: Recipe, actual: int) -> None:
    """Fail unless as many processes train together as were requested: two that each train alone would both seem to succeed.

    Raises:
        TrainingError: there are more or fewer.
    """
    requested = recipe.runtime.num_processes
    if actual != requested:
        raise TrainingError(
            f"requested {requested} processes, but {actual} train together; launch with tvt train --num-processes {requested}"
        )


def training_arguments(job: TrainingJob, order: Order) -> SFTConfig:
    """The recipe in TRL's terms. The whole run is one epoch of TRL's: the order contains all passes. A process uses one GPU."""
    recipe, settings = job.recipe, job.recipe.training
    gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(job.output / CHECKPOINTS),
        run_name=recipe.name,
        seed=job.seed,
        max_steps=order.steps,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=round(settings.warmup_ratio * order.steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=settings.optim,
        neftune_noise_alpha=settings.neftune_noise_alpha,
        use_liger_kernel=settings.use_liger_kernel,
        gradient_checkpointing=bool(settings.gradient_checkpointing),  # where the recipe leaves it open, the trainer decides
        bf16=recipe.model.dtype == "bfloat16",
        fp16=recipe.model.dtype == "float16",
        use_cpu=not gpu,
        ddp_backend="gloo" if "LOCAL_RANK" in os.environ and not gpu else None,
        deepspeed=recipe.runtime.deepspeed,
        # Truncation would cut image tokens, or the answer; the loss is on the answer alone.
        max_length=None,
        completion_only_loss=True,
        packing=False,
        remove_unused_columns=False,
        # On, it would log 0.0 for a NaN and train on.
        logging_nan_inf_filter=False,
        logging_steps=settings.logging_steps,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        report_to=list(recipe.runtime.report_to) or "none",
        dataloader_num_workers=worker_count(recipe),
        dataloader_pin_memory=gpu,
        disable_tqdm=True,
    )
    _correct(arguments)
    return arguments


def _correct(arguments: SFTConfig) -> None:
    """Set what transformers and TRL would decide differently, or leave unset by mistake."""
    # With several GPUs visible to a process that trains alone, transformers would take all of them by nn.DataParallel.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    # ZeRO-3 needs reentrant checkpointing. TRL (1.16) sets it under a name that transformers (5.24) reads no more by then.
    plugin = arguments.deepspeed_plugin
    if plugin is not None and plugin.zero_stage == 3:
        arguments.activation_checkpointing_kwargs = arguments.gradient_checkpointing_kwargs = {"use_reentrant": True}


def _trainer(job: TrainingJob, order: Order, arguments: SFTConfig, base: Loaded | None, *, pictures: bool) -> GuardedTrainer:
    recipe = job.recipe
    plugin = arguments.deepspeed_plugin
    if plugin is not None:
        import deepspeed

        # On CPU accelerate starts torch's processes but not DeepSpeed's view of them: ZeRO-3 would load as if alone.
        deepspeed.init_distributed()
    processor = load_processor(recipe.model)
    start_server(arguments.dataloader_num_workers, processor)
    with arguments.main_process_first(local=False, desc="rows"):
        rows = load_rows(job.dataset, job.output / ROWS)
    examples = Examples(rows, job.dataset, recipe.model.max_pixels, recipe.model.min_pixels)
    check_agreement(processor, examples.first_of_sources())
    # A batch without pictures has no gradient where the language model is left as it is.
    always = pictures and (order.processes > 1 or "language_model" not in recipe.trained_parts)
    collator = Collator(processor, picture_always=always)
    divided = plugin is not None and plugin.zero_stage == 3
    lengths = row_lengths(examples, processor)
    checkpointing = needs_checkpointing(recipe, examples, lengths, collator, load_config(recipe.model), divided=divided)
    # transformers (5.24) reads the first name, TRL (1.16) the second.
    arguments.activation_checkpointing = arguments.gradient_checkpointing = checkpointing
    model = load_model(recipe.model, sharded=divided) if base is None else base.model
    own = copy.deepcopy((model.config, model.generation_config))
    adapter = lora_config(model, recipe) if recipe.training.method == "lora" else None
    if adapter is None:
        train_weights(model, recipe.trained_parts)
    else:
        spare_frozen_parts(model, trained_modules(model, adapter))
    trainer = GuardedTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        examples=examples,
        order=order,
        lengths=lengths,
        collator=collator,
        processing_class=processor,
        peft_config=adapter,
    )
    trainer.own_settings = own
    if plugin is None or recipe.model.dtype == "float32":
        cast_trained(trainer.model)
    trainer.remove_callback(PrinterCallback)
    GradientGuard().watch(trainer)
    trainer.add_callback(CheckpointGuard(job, trainer.model, trainer.accelerator.wait_for_everyone))
    return trainer


def cast_trained(model: Any, dtype: torch.dtype = torch.float32) -> None:
    """Train in float32, as DeepSpeed's masters are.

    TRL casts it to bfloat16 where the base model is quantised: then steps below a weight's rounding are lost, and torch's
    scaler for float16 cannot unscale such gradients.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(dtype)


def _save(trainer: GuardedTrainer, job: TrainingJob) -> Adapter | None:
    """Save the adapter, check it, and only then move it to its place. All processes take part; the first returns it."""
    fresh, place = job.output / f".{ADAPTER}.unfinished", job.output / ADAPTER
    full = job.recipe.training.method == "full"
    if full:  # as the base model is, in whose precision it is scored; training set the tokenizer's tokens in its settings
        trainer.model.config, trainer.model.generation_config = trainer.own_settings
        if not trainer.is_deepspeed_enabled:
            cast_trained(trainer.model, getattr(torch, job.recipe.model.dtype))
    shapes = adapter_shapes(trainer.model)
    if trainer.is_world_process_zero():
        shutil.rmtree(fresh, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(fresh))
    trainer.accelerator.wait_for_everyone()
    if not trainer.is_world_process_zero():
        return None
    model = job.recipe.model
    base: dict[str, Any] = {"model_name_or_path": model.model_name_or_path, "revision": model.revision}
    # Scoring the adapter elsewhere must use them too.
    base |= {name: value for name in ("max_pixels", "min_pixels") if (value := getattr(model, name)) is not None}
    try:
        if full:
            write_full_record(fresh, numbers_of(trainer.model), base=base, run=job.identity)
        else:
            write_record(fresh, shapes, base=base, run=job.identity)
    except InputError as error:
        raise TrainingError("\n".join(error.faults)) from error
    saved = ("model", "config.json") if full else ()
    for file in fresh.iterdir():  # tokenizer, arguments, a model card: the base has them
        if not file.name.startswith(("adapter", *saved)):
            file.unlink() if file.is_file() else shutil.rmtree(file)
    if full:
        copy_texts(model, fresh)
    shutil.rmtree(place, ignore_errors=True)
    fresh.replace(place)
    return verify_adapter(place)
