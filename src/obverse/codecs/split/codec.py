"""Supervised compression: images to what a classifier needs of them, for a device that cannot run the classifier.

    device   x ──► encoder (small) ──► q ──► Message ──► a file, or a bare payload over the network
    server   ──► q ──► ŷ                 what `decode` gives, the same everywhere
                       ŷ ──► server ──► logits       `predict`
                       ŷ ──► synthesis ──► x̂         `reconstruct`, for models that have a second head

The Entropic Student (Matsubara, Yang, Levorato, Mandt, WACV 2022). A file holds one image or a set; the images of a set
share one message, so that a set costs its images' code lengths and once a few bytes. `split_halves.py` has the two
sides and what they exchange; this codec is both sides in one, for files.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from obverse.codecs.model_codec import ModelCodec, from_model
from obverse.codecs.rounded_codes import tensors_of
from obverse.codecs.split import METHOD
from obverse.codecs.split.halves import DEVICE, PARTS, SERVER, DeviceHalf, ServerHalf, check_images
from obverse.codecs.split.sizes import SplitConfig
from obverse.coding import TableFamily
from obverse.container import Container, Limits
from obverse.errors import DamagedError
from obverse.fields import Options
from obverse.method import Method

Array = npt.NDArray[Any]


def state_of(
    networks: dict[str, dict[str, Tensor]], offset: Tensor, tables: TableFamily
) -> dict[str, Tensor]:
    """The tensors of a model, from the state of each of its networks: encoder, server, perhaps synthesis.

    Weights become float16, which halves the model and costs no accuracy that can be measured.
    """
    state = {f"{part}.{k}": v.half() for part, tensors in networks.items() for k, v in tensors.items()}
    state |= tensors_of("tables", tables) | {"offset": offset.float()}
    return {name: tensor.contiguous() for name, tensor in state.items()}


class SplitCodec(ModelCodec):
    """Colour images of the one size that the model was trained for: one (S, S, 3), or a set (n, S, S, 3), uint8."""

    method: ClassVar[Method] = METHOD

    parts = frozenset({"offset", *(f"{part}." for part in (*PARTS[DEVICE], *PARTS[SERVER]))})

    @from_model
    def config(self) -> SplitConfig:
        return SplitConfig.from_dict(self.model.config.get("model"))

    @from_model
    def device(self) -> DeviceHalf:
        """Raises InputError."""
        return DeviceHalf(self.config, self.weights, self.fingerprint, self.model.name)

    @from_model
    def server(self) -> ServerHalf:
        """Raises InputError."""
        return ServerHalf(self.config, self.weights, self.fingerprint, self.model.name)

    # -- the contract --------------------------------------------------------------------------------

    def encode(self, data: Any, options: Options | None = None) -> Container:
        """Raises InputError, UnsupportedInputError for what is not of the model's size."""
        images = check_images(data, self.config)
        shape = self.config.image_shape if np.ndim(data) == 3 else images.shape
        payload = self.device.code.pack(self.device.symbols_of(images))
        return Container(
            self.id, {}, shape, {"codes": payload}, self.fingerprint, (options or Options()).kept
        )

    def decode(self, container: Container, limits: Limits | None = None) -> Array:
        """ŷ, (n, C, h, w) float32, or (C, h, w) of one image. Raises DamagedError, LimitError."""
        latents = self._latents(container, limits)
        return latents[0] if len(container.shape) == 3 else latents

    def predict(self, container: Container, limits: Limits | None = None) -> Array:
        """Logits (n, classes) float32, n = 1 for one image. Raises DamagedError, LimitError."""
        latents = self._latents(container, limits)
        self.server.check_logits(len(latents), limits)
        return self.server.logits(latents)

    def reconstruct(self, container: Container, limits: Limits | None = None) -> Array:
        """x̂, uint8 of the shape of what was coded. Raises InputError for a model without a synthesis, DamagedError,
        LimitError."""
        latents = self._latents(container, limits)
        self.server.check_images(len(latents), limits)
        images = self.server.images(latents)
        return images[0] if len(container.shape) == 3 else images

    def rate_bits(self, data: Any, options: Options | None = None) -> npt.NDArray[np.float64]:
        """(n,) bits that the model gives to each image: the payload holds their sum."""
        return self.device.code.bits(self.device.symbols_of(check_images(data, self.config)))

    def _latents(self, container: Container, limits: Limits | None) -> npt.NDArray[np.float32]:
        """ŷ (n, C, h, w), one image too."""
        shape, sections = container.shape, container.sections
        if (
            container.items is not None or container.config or set(sections) != {"codes"}
            or len(shape) not in (3, 4) or shape[-3:] != self.config.image_shape
        ):  # fmt: skip
            raise DamagedError("not the header of an image or a set of images of this model")
        return self.server.latents(sections["codes"], shape[0] if len(shape) == 4 else 1, limits)
