"""The frozen-vision cache: one model's features of images, from disk where they are known, else computed and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tvt.core.recipe import RuntimeConfig
from tvt.io import digest
from tvt.io.cache import cache_folder
from tvt.io.lock import exclusively
from tvt.model.vision.feed import Feed, Piece, about_inputs, alone
from tvt.model.vision.picture import Encoded, decode
from tvt.model.vision.probe import LARGEST_BATCH, Setting, Verdict, probe
from tvt.model.vision.space import Space
from tvt.model.vision.store import Store
from tvt.model.vision.tower import Tower, as_outputs, namespace

Note = Callable[[str], None]
_FOLDER = "vision"


@dataclass(frozen=True, kw_only=True)
class VisionSettings:
    """Whether features are kept, and how many."""

    mode: Literal["off", "exact", "rounding"] = "off"
    gigabytes: float = 20.0
    """Size limit of the features of all models together, in units of 10**9 bytes."""

    @classmethod
    def of(cls, runtime: RuntimeConfig) -> VisionSettings:
        """As a recipe has them."""
        return cls(mode=runtime.vision_cache, gigabytes=runtime.vision_cache_gb)


class VisionCache:
    """Features of one model's images. Make one with :func:`open_cache`.

    Args:
        tower: the model's vision side.
        space: where its features are on disk.
        note: told in a sentence when the limit is reached.
    """

    def __init__(self, tower: Tower, space: Space, note: Note) -> None:
        self._tower, self._note = tower, note
        self._store = Store(space)
        self._told_full = False

    @property
    def usable(self) -> bool:
        """Whether the vision side is still the one whose features these are: no adapter has layers in it."""
        return self._tower.untouched

    @property
    def feed(self) -> Feed:
        """For whoever makes batches."""
        return Feed(self._store)

    def encoder_outputs(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """The features of a batch's images as the model takes them, in place of their pixels, on its device."""
        return as_outputs([self._features(piece) for piece in pieces])

    def flush(self) -> None:
        """Write what is new."""
        self._store.flush()
        self._tell_if_full()

    def close(self) -> None:
        """Write what is new, and let others have the room if they need it."""
        self._store.close()
        self._tell_if_full()

    def _features(self, piece: Piece) -> dict[str, Any]:
        device = self._tower.device
        known = self._store.get(piece.key)
        if known is not None:
            return {name: tensor.to(device) for name, tensor in known.items()}
        inputs = piece.inputs or self._inputs(piece)
        found = self._tower.features_alone(inputs)
        held = {name: tensor.cpu().contiguous() for name, tensor in found.items()}
        if self._store.put(piece.key, held, about_inputs(inputs)):
            piece.inputs = None
        self._tell_if_full()
        return found

    def _inputs(self, piece: Piece) -> dict[str, Any]:
        """Once more from the file's bytes: what was known is damaged, or was removed."""
        source = Encoded(key=piece.key, content=piece.content, open=lambda: decode(piece.content))
        return alone(self._tower.processor.image_processor, source, {"return_tensors": "pt"})

    def _tell_if_full(self) -> None:
        if self._store.full and not self._told_full:
            self._told_full = True
            self._note("vision cache: no room for more, by its limit (vision_cache_gb) or on its disk; what is new is not kept")


def open_cache(model: Any, processor: Any, settings: VisionSettings, setting: Setting, note: Note) -> VisionCache | None:
    """The cache of a model as it is now, where it may be used; else the reason is told, and ``None`` returned.

    Args:
        model: the transformers model, on its device; PEFT may have put layers into it.
        processor: its processor.
        settings: what a difference the cache may make.
        setting: how the vision tower would run without it.
        note: told in a sentence what is worth knowing.

    Raises:
        InputError: the cache's disk has no file locks.
    """
    if settings.mode == "off":
        return None
    tower, root = Tower(model, processor), cache_folder() / _FOLDER
    fault = tower.fault()
    if fault is None:
        try:
            return _opened(tower, root, settings, setting, note)
        except OSError as error:
            fault = f"{root} cannot be written ({error.strerror or error})"
    note(f"vision cache not used: {fault}")
    return None


def _opened(tower: Tower, root: Path, settings: VisionSettings, setting: Setting, note: Note) -> VisionCache | None:
    identity = tower.identity()
    space = Space(root, namespace(identity), int(settings.gigabytes * 10**9))
    verdict = _verdict(tower, setting, space, identity)
    fault = _objection(verdict, settings.mode, str(tower.dtype))
    if fault is not None:
        space.leave()
        note(f"vision cache not used: {fault}")
        return None
    if not verdict.equal:
        note(f"vision cache: features differ by up to {verdict.largest:.1e} from those of a batch, by rounding")
    return VisionCache(tower, space, note)


def _objection(verdict: Verdict, mode: str, dtype: str) -> str | None:
    if verdict.equal:
        return None
    differ = f"alone, images have features that differ by up to {verdict.largest:.1e} from those in a batch"
    if not verdict.by_rounding(dtype):
        return f"{differ}, which is more than rounding"
    return None if mode == "rounding" else f"{differ}, by rounding; the mode 'rounding' accepts that"


def _verdict(tower: Tower, setting: Setting, space: Space, identity: dict[str, Any]) -> Verdict:
    """The probe's verdict, which one process of those that start together finds for all, now and later."""
    asked = {"setting": setting.name, "batch": min(setting.batch, LARGEST_BATCH)}
    path = space.folder / f"probe-{digest.of_value(asked)[:12]}.json"
    with exclusively(space.folder / ".probe"):
        known = _read_verdict(path)
        if known is None:
            known = probe(tower, setting)
            space.add("namespace.json", _json(identity))
            space.add(path.name, _json({**asked, **asdict(known)}))
    return known


def _read_verdict(path: Path) -> Verdict | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Verdict(largest=float(told["largest"]), scale=float(told["scale"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
