"""`recipe.json` of a run: the recipes that it was trained with, one after the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from obverse.container import write_atomically
from obverse.errors import InputError
from obverse.training.log import log


def record_phase(path: Path, recipe: Any, config: Any, data: object, step: int, **facts: object) -> None:
    """Write the resolved recipe beside the weights. A run resumed with another recipe has several phases.

    Args:
        path: of the file.
        recipe: a dataclass.
        config: what `as_dict` tells the sizes of the model, None where the recipe has them.
        data: what it was trained on.
        step: steps done when the phase begins.
        **facts: what else it was trained on.
    """
    phases = recorded_phases(path.parent / "checkpoint.pt") if path.exists() else []
    before, now = phases[-1]["recipe"] if phases else {}, asdict(recipe)
    changed = [
        f"{name} {before[name]} -> {now[name]}"
        for name in now
        if name in before and before[name] != now[name]
    ]
    if changed:
        log(f"goes on with another recipe: {', '.join(changed)}")
    phase = {"from_step": step, "recipe": now, "data": data} | facts
    if not phases or _without_step(phase) != _without_step(phases[-1]):
        phases.append(phase)
    sizes = {} if config is None else {"model": config.as_dict()}
    write_atomically(path, json.dumps(sizes | {"phases": phases}, indent=2).encode(), overwrite=True)


def _without_step(phase: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it."""
    told = {name: value for name, value in phase.items() if name != "from_step"}
    return dict(json.loads(json.dumps(told)))


def recorded_phases(checkpoint: Path) -> list[dict[str, Any]]:
    """What `record_phase` wrote beside the checkpoint.

    Raises:
        InputError: where it is not there, or not what `record_phase` writes.
    """
    path = checkpoint.parent / "recipe.json"
    try:
        phases = json.loads(path.read_text())["phases"]
        if not all(isinstance(phase["recipe"], dict) for phase in phases):
            raise ValueError("its phases have no recipes")
        return list(phases)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not the recipe of this run: {error}") from error
