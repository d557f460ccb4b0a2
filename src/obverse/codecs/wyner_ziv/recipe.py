"""What trainings of the Wyner-Ziv codecs are told: pairs, and a recipe for each of the three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from obverse.errors import TrainingError
from obverse.fields import option
from obverse.training.recipe import Inputs, Recipe

MARGINAL, CONDITIONAL = "marginal", "conditional"
NESTED, EMERGENT = "nested", "emergent"
MSE, ABS = "mse", "abs"
MOST_INDICES = 4096
MOST_GRID_INDICES = 256  # labels are bytes
CELLS, POINTS = 4800, 2400  # of the grid of a density
BLOCK = 65_536  # samples that are Slepian-Wolf coded together, as `obverse.coding.slepian_wolf` has it
MOST_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PairInputs(Inputs):
    """What a run learns from."""

    data: Path = option(
        MISSING,
        "A .npz file with arrays x (n,) or (n, d) and y (n,) or (n, c); whole numbers y of few values are categories.",
    )

    @cached_property
    def pairs(self) -> Any:
        """x and y, read once: by the check and the fit."""
        from obverse.data.arrays import read_pairs

        return read_pairs(self.data)

    def check(self) -> None:
        _ = self.pairs


@dataclass(frozen=True)
class BlockRecipe(Recipe):
    """Base of recipes with a field `block`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        block: int = vars(self)["block"]
        if block & (block - 1):
            raise TrainingError(f"block must be a power of two, not {block}")


@dataclass(frozen=True)
class IndexRecipe(BlockRecipe):
    """What codecs of one index a sample have in common."""

    objective: str = option(
        CONDITIONAL,
        "conditional: Slepian-Wolf coded blocks; marginal: each sample by itself.",
        choices=(CONDITIONAL, MARGINAL),
    )
    indices: int = option(
        12,
        "K, how many values the index of a sample has; for more, code fewer components of x at once.",
        low=2,
        high=MOST_INDICES,
    )
    lmbda: float | None = option(
        None,
        "Price of distortion, nats a component per unit of it; more means more rate. By default, suits K.",
        above=0,
    )
    lists: int = option(
        32,
        "Paths followed when the Slepian-Wolf code is designed: more take longer and save bits.",
        low=1,
        high=4096,
    )
    block: int = option(
        BLOCK, "Samples that are Slepian-Wolf coded together, a power of two.", low=1024, high=MOST_BLOCK
    )
    seed: int = option(0, "Of all random numbers.", low=0, high=2**32 - 1)


@dataclass(frozen=True)
class WynerZivRecipe(IndexRecipe):
    """Of the learned codec. distortion: in Python also a function of tensors (..., d), (..., d) -> (...) that can be
    differentiated. hidden, features: sizes of the networks."""

    distortion: str | Callable[..., Any] = option(MSE, "mse or abs.", parse=str)
    start: str = option(
        NESTED, "nested: from a nested lattice; emergent: from nothing.", choices=(NESTED, EMERGENT)
    )
    gumbel: bool | None = option(
        None, "Sample the index instead of summing over it; by default for many indices."
    )
    steps: int = option(3000, "Steps of the main stage.", low=1, high=10**9)
    nested_steps: int = option(800, "Steps of the nested start.", low=0, high=10**9)
    refit_steps: int = option(600, "Last steps, with the encoder as it is.", low=0, high=10**9)
    batch: int = option(512, "Pairs of a step.", low=1, high=10**6)
    refit_batch: int = option(4096, "Pairs of a step of the refit.", low=1, high=10**6)
    lr: float = option(2e-3, "Learning rate of Adam, before its fall.", above=0)
    temperature_first: float | None = option(
        None,
        "Of the encoder at the start; by default between 0.5 and 4: hotter, and a low rate collapses to one index.",
        above=0,
    )
    temperature_last: float = option(0.03, "Of the encoder at the end.", above=0)
    hidden: int | None = option(None, "Units of the layers; by default suits x.", low=1, high=4096)
    features: int | None = option(
        None, "Numbers that y is turned into; by default suits x.", low=1, high=4096
    )
    checkpoint_seconds: float = option(30.0, "Seconds between checkpoints.", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.distortion) and self.distortion not in (MSE, ABS):
            raise TrainingError(
                f"distortion must be one of {MSE}, {ABS}, or a function, not {self.distortion!r}"
            )
        if self.temperature_first is not None and self.temperature_first < self.temperature_last:
            raise TrainingError("the temperature must fall, from temperature_first to temperature_last")

    def as_dict(self) -> dict[str, Any]:
        """Plain values; a distortion that is a function by its name."""
        name = (
            getattr(self.distortion, "__name__", "custom") if callable(self.distortion) else self.distortion
        )
        return asdict(replace(self, distortion=MSE)) | {"distortion": name}


@dataclass(frozen=True)
class GridRecipe(IndexRecipe):
    """Of the best scalar design without networks, for squared error."""

    indices: int = option(12, "K, how many values the index of a sample has.", low=2, high=MOST_GRID_INDICES)
    starts: int = option(8, "Widths of the intervals to start from, each with 2 phases.", low=1, high=1000)
    cells: int = option(CELLS, "Of the grid along x.", low=2, high=100_000)
    points: int = option(POINTS, "Of the grid along y.", low=2, high=100_000)


@dataclass(frozen=True)
class TrellisRecipe(BlockRecipe):
    """Of the codec near the limit. One component and hidden = 0 is the linear-Gaussian model."""

    rate: float = option(
        2.0,
        "Bits a sample that files should take; the trellis alone takes half a bit, for less use wyner-ziv.",
        low=0.6,
        high=12,
    )
    states: int = option(
        1024, "States of the trellis, a power of two: more are better and slower.", low=4, high=8192
    )
    components: int = option(4, "Gaussians that make up p(x|y).", low=1, high=64)
    hidden: int = option(64, "Width of the network that computes p(x|y); 0 for none.", low=0, high=1024)
    steps: int = option(3000, "Training steps of that network.", low=0, high=10**9)
    batch: int = option(2048, "Pairs of a step.", low=1, high=10**6)
    lr: float = option(2e-3, "Learning rate of Adam, before its fall.", above=0)
    failure: float = option(0.005, "Share of blocks that may fail to decode.", above=0, below=0.5)
    lists: int = option(
        32, "Paths followed when the code is designed: more take longer, save bits.", low=1, high=4096
    )
    block: int = option(
        BLOCK, "Samples that are Slepian-Wolf coded together, a power of two.", low=1024, high=MOST_BLOCK
    )
    seed: int = option(1, "Of all random numbers.", low=0, high=2**32 - 1)
