"""What an adapter's configuration may hold before PEFT acts on it: finite numbers, and patterns that come to an end."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tvt.errors import InputError
from tvt.io import json_text

PATTERN_SECONDS = 20.0
"""How long the patterns of one adapter may take for all modules of a model; what is meant well takes milliseconds."""
_FULL_PATTERNS = ("target_modules", "exclude_modules", "modules_to_save", "target_parameters")
_KEYED_PATTERNS = ("rank_pattern", "alpha_pattern")


def setting_faults(config: Mapping[str, Any]) -> Iterator[str]:
    """What no adapter's configuration may hold, a line each.

    Args:
        config: as it stands in ``adapter_config.json``.
    """
    kind, base = config.get("peft_type"), config.get("base_model_name_or_path")
    if not isinstance(kind, str):
        yield f"peft_type is {'missing' if kind is None else 'no text'}; name the kind of the adapter, such as LORA"
    if base is not None and not isinstance(base, str):
        yield "base_model_name_or_path is no text; name the base model"
    for name, value in config.items():
        if not all(map(math.isfinite, _numbers(value))):
            yield f"{name} holds a number that is not finite; train the adapter anew"
    for name, pattern in _patterns(config):
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            yield f"{name}: {pattern!r} is no regular expression ({error}); mend it"


def refuse_endless_patterns(config: Mapping[str, Any], modules: Iterable[str]) -> None:
    """Refuse regular expressions that take exponential time on a model's names; a match cannot be interrupted, a process can.

    Args:
        config: the adapter's configuration, in which :func:`setting_faults` finds nothing.
        modules: names of all modules of the base model.

    Raises:
        InputError: they do not come to an end.
    """
    patterns = [pattern for _, pattern in _patterns(config) if len(re.findall(r"[*+{]", pattern)) > 1]
    if not patterns:
        return
    named = ", ".join(dict.fromkeys(name for name, pattern in _patterns(config) if pattern in patterns))
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", __name__],
            input=json.dumps([patterns, list(modules)]),
            text=True,
            capture_output=True,
            timeout=PATTERN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{named}: a regular expression does not come to an end within {PATTERN_SECONDS:g} s; write it without repeats "
            "inside repeats"
        ) from error
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(f"{named}: the regular expressions could not be tried in a process of their own ({why[0]})")


def _match_all() -> None:
    """Match patterns with names, both read from stdin; what comes out does not matter, only that it ends."""
    patterns, names = json_text.loads(sys.stdin.read())
    for pattern in patterns:
        compiled = re.compile(pattern)
        for name in names:
            compiled.fullmatch(name)


def _patterns(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings that PEFT takes for regular expressions, each as it is matched against a whole name."""
    for name in _FULL_PATTERNS:
        if isinstance(value := config.get(name), str) and value != "all-linear":
            yield name, value
    for name in _KEYED_PATTERNS:
        if isinstance(value := config.get(name), Mapping):
            yield from ((name, rf"(?:.*\.)?(?:{key})") for key in value)
    layers = config.get("layers_pattern")
    for value in layers if isinstance(layers, list) else [layers]:
        if isinstance(value, str) and value:
            yield "layers_pattern", rf".*\.{value}\.(\d+)\..*"


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in a JSON value."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(item)


if __name__ == "__main__":
    _match_all()
