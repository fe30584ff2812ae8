"""The fields of models of settings, one by one."""

from __future__ import annotations

from pydantic import BaseModel


def parts(model: type[BaseModel], name: str = "") -> list[tuple[str, type[BaseModel], str]]:
    """Every plain field of a recipe: its full name, its part and its name there."""
    found = []
    for field, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += parts(kind, f"{name}{field}.")
        else:
            found.append((f"{name}{field}", model, field))
    return found
