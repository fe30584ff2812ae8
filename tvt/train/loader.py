"""The batches of one process, prepared beside the device by worker processes.

Workers are started by a fork server, which has neither threads nor a device and has loaded the packages before: a fork of the
training process itself may take over locks that a thread of it holds, and a fresh Python takes seconds each. A batch is what
its rows make it, in whichever process it is prepared, and batches come in order.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, get_worker_info

from tvt.core.recipe import AUTOMATIC_LOADERS, Recipe
from tvt.errors import TrainingError, reason_of
from tvt.io import machine
from tvt.train.batches import Collator
from tvt.train.rows import Examples

_LOG = logging.getLogger(__name__)

SHARED_BYTES = 2**30
"""With less memory for processes to share, batches of photographs would end the workers; then there are none by default."""
_PRELOADED = ("datasets", "PIL.Image", "torch.utils.data", "transformers.processing_utils", "tvt.train.loader")
_LONGEST_QUEUE = 8


def worker_count(recipe: Recipe) -> int:
    """How many workers each process has: what the recipe says, else some where there is a GPU, cores and memory for them."""
    requested = recipe.runtime.dataloader_num_workers
    if requested is not None:
        return requested
    shared = machine.shared_memory()
    if not torch.cuda.is_available() or (shared is not None and shared < SHARED_BYTES):
        return 0
    here = recipe.runtime.num_processes // recipe.runtime.num_machines
    return max(0, min(AUTOMATIC_LOADERS, machine.cores() // (here * machine.runs_at_once()) - 1))


def start_server(workers: int, processor: Any) -> None:
    """Have the fork server load its packages while this process goes on to load the model."""
    if not workers:
        return
    from multiprocessing import forkserver

    parts = (processor, getattr(processor, "image_processor", None), processor.tokenizer)
    multiprocessing.set_forkserver_preload([*_PRELOADED, *dict.fromkeys(type(part).__module__ for part in parts)])
    forkserver.ensure_running()


@dataclass(frozen=True)
class Failure:
    """An exception of a worker on its way to the training process, which raises it as its own."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Carry an exception, or its type and message where it cannot be copied."""
        try:
            error.add_note("".join(traceback.format_exception(error)))
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        except Exception:  # whatever an exception's class does with its arguments
            return cls(RuntimeError(f"{type(error).__name__}: {error}"))
        return cls(error)


class Prepare:
    """Makes a batch of rows from their numbers."""

    def __init__(self, examples: Examples, collator: Collator) -> None:
        self._examples, self._collator = examples, collator

    def __call__(self, numbers: list[int]) -> dict[str, Any] | Failure:
        if get_worker_info() is None:
            return self._collator(self._examples.__getitems__(numbers))
        try:
            return self._collator(self._examples.__getitems__(numbers))
        except Exception as error:
            return Failure.of(error)


def loader(
    prepare: Prepare, rows: int, batches: Sampler[list[int]], *, workers: int, ahead: int, pinned: bool
) -> DataLoader[Any]:
    """The loader of one process.

    Args:
        prepare: what makes a batch.
        rows: how many there are.
        batches: the numbers of each batch's rows.
        workers: processes that prepare batches.
        ahead: so many batches are to be ready while those before are trained on: those of an optimiser step.
        pinned: whether batches lie in memory from which a GPU copies fast.
    """
    beside: dict[str, Any] = {}
    _LOG.debug("%d rows; batches are prepared by %d workers", rows, workers)
    if workers:
        each = math.ceil((ahead + workers) / workers)
        beside = {
            "prefetch_factor": min(max(2, each), _LONGEST_QUEUE),
            "multiprocessing_context": _Context(),
            "worker_init_fn": _begin,
        }
    numbers: Any = range(rows)
    return DataLoader(numbers, batch_sampler=batches, collate_fn=prepare, num_workers=workers, pin_memory=pinned, **beside)


def checked(batches: Iterator[Any]) -> Iterator[Any]:
    """Batches from a loader's iterator; what failed in a worker fails here.

    Raises:
        TrainingError: a worker was killed.
    """
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise TrainingError(
                f"a data loader's worker was killed ({reason_of(error)}); its memory may not have sufficed: lower "
                "runtime.dataloader_num_workers, or start the container with a larger --shm-size"
            ) from error
        if isinstance(batch, Failure):
            raise batch.error
        yield batch


def end_workers(batches: Iterator[Any] | None) -> None:
    """End the workers of a loader's iterator, if it has any."""
    end = getattr(batches, "_shutdown_workers", None)
    if end is not None:
        end()


def _begin(_: int) -> None:
    """In a worker, before its first batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too; the training process ends it
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # What a batch fails by travels as its value; all that is left to print are pipes closed by a training process that ended.
    sys.excepthook = lambda *_: None
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the training process does, however it does: this worker's parent is the fork server, which waits for it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Process(ForkServerProcess):
    """A worker that does not run the program again from whose main module it was started: scripts need no guard for it."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        with _main_hidden():
            popen: Any = ForkServerProcess._Popen
            return popen(process_obj)


class _Context(ForkServerContext):
    Process = _Process


@contextmanager
def _main_hidden() -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
