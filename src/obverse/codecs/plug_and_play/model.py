"""What a stored model of plug-and-play holds, and what images are to it.

weights ──► ladder.*, ladders.* ──► RateLadder        graph.*, network.* ──► Networks: encode, decode
image (H, W[, 3]) uint8 ──► batch (1, C, H', W') from 0 to 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from obverse.codecs.plug_and_play.networks import Networks
from obverse.codecs.plug_and_play.rate_ladder import RateLadder, Rung
from obverse.errors import DamagedError, ModelError, UnsupportedInputError
from obverse.zoo import StoredModel

Array = npt.NDArray[Any]
MOST_AXES = 8
MOST_LADDERS = 2


@dataclass(frozen=True)
class PlugModel:
    """What a stored model holds.

    ladders: one, or several, of which each file takes the rung that costs least; their rungs are numbered one ladder
    after the other. data: "posterior", "array" or "image", what it codes. latents: their shape, None where any size
    will do. axis: of the groups. channels, multiple: of images. networks: None where there are none.
    """

    ladders: tuple[RateLadder, ...]
    data: str
    latents: tuple[int | None, ...]
    axis: int | None
    channels: int
    multiple: int
    networks: Networks | None

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """Of all ladders, in the order of the numbers that files hold."""
        return tuple(rung for ladder in self.ladders for rung in ladder.rungs)

    @property
    def groups(self) -> int:
        return self.ladders[0].groups

    def nearest(self, lmbda: float) -> list[int]:
        """The numbers of the rungs for this lmbda, one of each ladder. Raises InputError."""
        found, first = [], 0
        for ladder in self.ladders:
            found.append(first + ladder.nearest(lmbda))
            first += len(ladder.rungs)
        return found

    @classmethod
    def of(cls, stored: StoredModel) -> PlugModel:
        """Raises ModelError for a damaged one."""
        damaged = f"the model {stored.name} is damaged; make or install it again"
        try:
            arrays = load_safetensors(stored.weights)
            ladders = _ladders(arrays)
        except (SafetensorError, DamagedError, KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{damaged} ({error})") from None
        config, networks = stored.config, None
        data, latents, axis = config.get("data"), config.get("latents"), config.get("axis")
        channels, multiple = config.get("channels") or 3, config.get("multiple")
        if (
            data not in ("posterior", "array", "image") or type(latents) is not list
            or not 1 <= len(latents) <= MOST_AXES
            or any(size is not None and (type(size) is not int or size < 1) for size in latents)
            or not (axis is None or (type(axis) is int and 0 <= axis < len(latents)))
            or any(ladder.groups != (1 if axis is None else latents[axis]) for ladder in ladders)
            or channels not in (1, 3) or type(multiple) is not int or not 1 <= multiple <= 4096
            or (data == "posterior" and not all(name.startswith(("ladder.", "ladders.")) for name in arrays))
        ):  # fmt: skip
            raise ModelError(damaged)
        check_told(config, ladders, stored.name)
        if data != "posterior":
            if is_archived(arrays):
                raise ModelError(
                    f"the model {stored.name} holds its networks as programs of torch.export, which may run any code "
                    "when they are loaded: convert it once, if you trust it (obverse plug-and-play convert FOLDER "
                    "--trust)"
                )
            try:
                networks = Networks.of(arrays)
            except ModelError as error:
                raise ModelError(f"{damaged} ({error})") from None
        return cls(ladders, data, tuple(latents), axis, channels, multiple, networks)


def told_of(ladders: Sequence[RateLadder]) -> dict[str, Any]:
    """What a configuration tells people of the ladders: their grids and the lmbdas of all rungs."""
    grids = dict.fromkeys(ladder.rungs[0].grid.kind for ladder in ladders)
    return {
        "grid": " or ".join(grids),
        "lmbdas": sorted({rung.lmbda for ladder in ladders for rung in ladder.rungs}),
    }


def check_told(config: Mapping[str, Any], ladders: Sequence[RateLadder], name: str) -> None:
    """Raises ModelError where a configuration tells of other grids or lmbdas than the tensors hold."""
    for key, here in told_of(ladders).items():
        if config.get(key) != here:
            raise ModelError(
                f"the model {name} is damaged: its configuration says {key} {str(config.get(key))[:60]}, its tables "
                f"have {str(here)[:60]}; make or install it again"
            )


def _ladders(arrays: Mapping[str, Array]) -> tuple[RateLadder, ...]:
    """The one ladder, or ladders 0, 1, ..., of whose rungs the cost decides. Raises DamagedError."""

    def state(prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

    numbers = {name.split(".")[1] for name in arrays if name.startswith("ladders.")}
    count = len(numbers)
    if not count:
        return (RateLadder.from_state(state("ladder.")),)
    if numbers != set(map(str, range(count))) or count > MOST_LADDERS or state("ladder."):
        raise DamagedError("its ladders are not numbered from 0, or too many")
    return tuple(RateLadder.from_state(state(f"ladders.{i}."), by_cost=True) for i in range(count))


def is_archived(arrays: Mapping[str, Array]) -> bool:
    """Whether networks are stored as they were before there were graphs: archives of torch.export."""
    return {"network.encode", "network.decode"} <= set(arrays)


def image_batch(pixels: Array, channels: int, multiple: int) -> npt.NDArray[np.float32]:
    """(H, W) or (H, W, 3) uint8 to (1, C, H', W') float32 from 0 to 1; the last rows and columns fill up the sides."""
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    if planes.shape[2] != channels:
        if channels == 1:
            raise UnsupportedInputError("this model codes grayscale images: convert the image first")
        planes = np.repeat(planes, 3, axis=2)
    fill = [(0, filled_side(side, multiple) - side) for side in planes.shape[:2]]
    filled = np.pad(planes, [*fill, (0, 0)], mode="edge")
    return np.ascontiguousarray(filled.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def filled_side(side: int, multiple: int) -> int:
    """A multiple, at least two: an exported network may not run on maps of one latent."""
    return max(2 * multiple if multiple > 1 else 1, -(-side // multiple) * multiple)
