"""Sizes of the networks of split computing: of the teacher, and of the model that stands in for its first layers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from obverse.errors import InputError
from obverse.fields import option
from obverse.training.recipe import Sizes

LARGEST_SIDE, MOST_CLASSES, MOST_WIDTH, MOST_BLOCKS, MOST_STRIDE, MOST_KERNEL = 512, 10_000, 2048, 16, 8, 15


@dataclass(frozen=True)
class ResNetConfig:
    """side: pixels of a square RGB image. classes: logits. stem_stride: of the stem, 1 for 32 pixels, 3 for 96. widths:
    channels of the stem and of each layer. blocks: residual blocks of each layer."""

    side: int = 32
    classes: int = 10
    stem_stride: int = 1
    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: tuple[int, ...] = (1, 1, 1)

    @property
    def layers(self) -> int:
        """How many layers follow the stem."""
        return len(self.blocks)

    def side_after(self, layer: int) -> int:
        """Places along a side of what a layer gives; layer 0 is the stem."""
        side = -(-self.side // self.stem_stride)
        for _ in range(layer):
            side = -(-side // 2)
        return side

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"widths": list(self.widths), "blocks": list(self.blocks)}

    @classmethod
    def from_dict(cls, values: Any) -> ResNetConfig:
        """What `as_dict` gave. Raises InputError for anything else."""
        names = {field.name for field in fields(cls)}
        if (
            not isinstance(values, dict) or set(values) != names
            or not isinstance(values["widths"], list) or not isinstance(values["blocks"], list)
        ):  # fmt: skip
            raise InputError("the configuration is not that of a residual network")
        singles = [values["side"], values["classes"], values["stem_stride"]]
        if any(type(v) is not int or v < 1 for v in [*singles, *values["widths"], *values["blocks"]]):
            raise InputError("the configuration of the residual network holds no whole numbers above zero")
        config = cls(*singles, tuple(values["widths"]), tuple(values["blocks"]))
        if (
            not 1 <= config.layers <= 5 or len(config.widths) != config.layers + 1
            or config.side > LARGEST_SIDE or config.classes > MOST_CLASSES or config.stem_stride > MOST_STRIDE
            or max(config.widths) > MOST_WIDTH or max(config.blocks) > MOST_BLOCKS
        ):  # fmt: skip
            raise InputError(
                f"a residual network has up to 5 layers of up to {MOST_BLOCKS} blocks and {MOST_WIDTH} channels, a "
                f"width for its stem and for each layer, images of up to {LARGEST_SIDE} pixels a side, up to "
                f"{MOST_CLASSES} classes, and a stem of stride 1 to {MOST_STRIDE}"
            )
        return config


@dataclass(frozen=True)
class SplitConfig(Sizes):
    """Sizes of a split model. teacher: of the network whose first layers are stood in for. strides: of the encoder's
    three convolutions. reconstructs: whether there is a synthesis."""

    teacher: ResNetConfig = option(ResNetConfig(), "Sizes of the teacher.", flag=False)
    after: int = option(
        0, "The last layer of the teacher that is stood in for, 0 for its stem.", low=0, high=5
    )
    codes: int = option(48, "Channels of the code.", low=1, high=MOST_WIDTH)
    widths: tuple[int, int] = option(
        (64, 48), "Channels of the encoder's two inner layers.", low=1, high=MOST_WIDTH
    )
    kernels: tuple[int, int, int] = option(
        (5, 5, 3), "Sizes of the encoder's three kernels, odd.", low=1, high=MOST_KERNEL
    )
    strides: tuple[int, int, int] = option((2, 2, 2), "Of the same.", low=1, high=MOST_STRIDE, flag=False)
    decoder_blocks: int = option(2, "Residual blocks of the decoder.", low=1, high=MOST_BLOCKS)
    reconstructs: bool = option(False, "Whether there is a synthesis.", flag=False)

    @property
    def side(self) -> int:
        """Places along a side of ŷ."""
        side = self.teacher.side
        for stride in self.strides:
            side = -(-side // stride)
        return side

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of an image, (S, S, 3)."""
        return (self.teacher.side, self.teacher.side, 3)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Of ŷ of an image, (codes, side, side)."""
        return (self.codes, self.side, self.side)

    @property
    def symbols(self) -> int:
        """Integers that stand for an image."""
        return math.prod(self.latent_shape)

    @property
    def growth(self) -> int:
        """How often the side of ŷ goes into that of h."""
        return self.teacher.side_after(self.after) // self.side

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        lists = {name: list(getattr(self, name)) for name in ("widths", "kernels", "strides")}
        return asdict(self) | lists | {"teacher": self.teacher.as_dict()}

    @classmethod
    def from_dict(cls, values: Any) -> SplitConfig:
        """What `as_dict` gave. Raises InputError for anything else."""
        names = {f.name for f in fields(cls)}
        lists = {"widths": 2, "kernels": 3, "strides": 3}
        if (
            not isinstance(values, dict) or set(values) != names or type(values["reconstructs"]) is not bool
            or any(not isinstance(values[name], list) or len(values[name]) != n for name, n in lists.items())
        ):  # fmt: skip
            raise InputError("the configuration is not that of a split model")
        singles = {name: values[name] for name in ("after", "codes", "decoder_blocks")}
        positive = [values["codes"], values["decoder_blocks"], *(v for n in lists for v in values[n])]
        if any(type(v) is not int or v < 1 for v in positive) or type(singles["after"]) is not int:
            raise InputError("the configuration of the split model holds no whole numbers above zero")
        tuples = {name: tuple(values[name]) for name in lists}
        config = cls(
            ResNetConfig.from_dict(values["teacher"]),
            reconstructs=values["reconstructs"],
            **singles,
            **tuples,
        )
        config.check()
        return config

    def check(self) -> None:
        """Raises InputError for sizes that do not go together."""
        if (
            max(self.kernels) > MOST_KERNEL or not all(kernel % 2 for kernel in self.kernels)
            or max(self.strides) > MOST_STRIDE or max(*self.widths, self.codes) > MOST_WIDTH
            or self.decoder_blocks > MOST_BLOCKS
        ):  # fmt: skip
            raise InputError(
                f"a split model has up to {MOST_WIDTH} channels, odd kernels up to {MOST_KERNEL} and strides up to "
                f"{MOST_STRIDE}, and up to {MOST_BLOCKS} blocks"
            )
        if not 0 <= self.after <= self.teacher.layers:
            raise InputError(f"there is no layer {self.after}: the teacher has {self.teacher.layers}")
        wanted = self.teacher.side_after(self.after)
        if wanted % self.side or self.growth > 8:
            raise InputError(
                f"the codes have {self.side} places a side and the teacher's layer {self.after} has {wanted}: choose "
                "strides that make it the same, or up to 8 times as many"
            )
        if self.reconstructs and self.teacher.side % self.side:
            raise InputError(
                f"a model that reconstructs needs strides that leave a whole part of {self.teacher.side} pixels a "
                f"side, not {self.side} places"
            )
