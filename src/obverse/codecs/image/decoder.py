"""What decodes a photo, without torch, whose import takes longer than decoding one does.

    message ──► ẑ, then slice k with the tables that ẑ and slices < k give ──► ŷ ──► synthesis ──► pixels
                exact_arrays.py, in integers                                         synthesis.py, in float32

Integers are those of the encoder's networks, which are in torch, to the last bit; pixels differ from theirs by at
most one grey level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from obverse.codecs.image.exact_arrays import FourStepPrior
from obverse.codecs.image.latents import ALIGN, Z_MAX, Coded
from obverse.codecs.image.recipe import ImageModelConfig
from obverse.codecs.image.scales import SCALES
from obverse.codecs.image.synthesis import ANCHORS, Synthesis, check_shapes, quality_vector
from obverse.codecs.image.weights import all_groups, unpack_weights
from obverse.coding import Message, TableFamily
from obverse.errors import DamagedError, ModelError
from obverse.transforms.windows import scaled, windows
from obverse.zoo import StoredModel

WINDOW = 1024  # pixels on a side of what the synthesis sees at once


@dataclass(frozen=True)
class ImageDecoder:
    """The parts of a model that decode.

    Attributes:
        prior: which tables latents are coded with.
        tables: those tables.
        log_inverse_gain: (K, M) float32, the logarithms of the quantiser's steps.
        synthesis: latents to pixels.
    """

    prior: FourStepPrior
    tables: TableFamily
    log_inverse_gain: npt.NDArray[np.float32]
    synthesis: Synthesis

    @classmethod
    def load(cls, model: StoredModel) -> ImageDecoder:
        """Raises ModelError, and what `codecs.model_codec.reading_model` makes one of."""
        groups = all_groups(model)
        sizes = ImageModelConfig(**model.config["model"])
        gains = unpack_weights(groups["gains"])
        names = ("log_gain.anchors", "log_inverse_gain.anchors")
        check_shapes(gains, dict.fromkeys(names, (ANCHORS, sizes.latents)), "gains", model.name)
        prior, tables = FourStepPrior.of(groups["prior"], sizes), TableFamily.from_state(groups["tables"])
        if len(tables) != SCALES or not prior.chooses_among(SCALES):
            raise ModelError(f"the model {model.name} chooses tables that it does not have; install it again")
        return cls(
            prior,
            tables,
            gains[names[1]],
            Synthesis.of(unpack_weights(groups["synthesis"]), sizes, model.name),
        )

    def pop(
        self, message: Message, level: int, height: int, width: int
    ) -> tuple[list[Coded], npt.NDArray[np.float32]]:
        """What the encoder pushed for an image of this size.

        Returns:
            What is coded, in this order: z and slices 0 to 3.
            ŷ, (M, h/16, w/16) of the size in whole cells of 64 pixels, in steps of the quantiser.

        Raises:
            DamagedError: for what no encoder pushes.
            MessageEmptyError: where the message holds less.
        """
        rows, columns = -(-height // ALIGN), -(-width // ALIGN)
        z_index = np.broadcast_to(
            self.prior.z_tables(level)[:, None, None], (self.prior.hyper, rows, columns)
        )
        z = message.pop(self.tables, z_index)
        coded = [Coded(z, z_index)]
        if z.min() < -Z_MAX or z.max() > Z_MAX:
            raise DamagedError("hyper-latents out of range: the file is damaged")

        def coder(k: int, index: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
            coded.append(Coded(message.pop(self.tables, index), index))
            return coded[-1].symbols

        y_hat = self.prior.join(self.prior.run(z, level, coder))
        if not message.empty:
            raise DamagedError("the file holds more than its image")
        return coded, y_hat

    def synthesise(
        self, y_hat: npt.NDArray[np.float32], level: int, height: int, width: int, shrink: int = 1
    ) -> npt.NDArray[np.uint8]:
        """ŷ (M, h, w), in steps of the quantiser -> (height, width, 3).

        shrink: 1, 2, 4 or 8 to make a picture of that part of the size a side, rounded up, by means of the pixels.
        At the ends these are also of pixels beyond the picture, which the latents hold.
        """
        gain = np.exp(quality_vector(self.log_inverse_gain, level))
        out = np.empty((-(-height // shrink), -(-width // shrink), 3), np.uint8)
        for win in windows(*y_hat.shape[1:], WINDOW // 16, self.synthesis.reach):
            part = np.ascontiguousarray(y_hat[:, *win.padded].transpose(1, 2, 0))
            part *= gain
            x = self.synthesis.features(part, level)
            target = out[*scaled(win.core, 16, shrink)]
            self.synthesis.paint(x[*scaled(win.inside, 2)], target, shrink)
        return out
