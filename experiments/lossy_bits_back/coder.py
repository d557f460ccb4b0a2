"""Sets of photos as files with lossy bits-back: what experiments/lossy_bits_back/run.py codes with.

set ──► latents of each image, perhaps searched ──► one message, image after image ──► Container ──► set
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from exact_hyperprior import (
    DifferentiableHyperprior,
    ExactHyperprior,
    pop_drawn,
    pop_rounded,
    push_drawn,
    push_rounded,
)
from hyperprior import Y_MAX, Z_MAX, HyperpriorConfig, Ints
from model import LEVELS, LMBDAS, Grid, synthesise
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

import obverse
from obverse.coding import Message
from obverse.container import Container, Limits, read, write
from obverse.errors import DamagedError, InputError, MessageEmptyError, WrongModelError
from obverse.quantization.sga import GumbelAnnealing, Relax, Search, minimise

CODEC = "lossy-bits-back"
PIXEL_BYTES = 64  # memory that a pixel takes while its image is decoded, in bytes
DRAWS = 4  # of z, where bits are counted without a message


class Coder:
    """The model of a run, ready to code sets of images.

    set ──► latents of each image ──► one message, image after image ──► Container ──► set

    A chain begins with an image whose z is rounded: its bits are the initial bits of those after it, whose z are
    drawn. So none are wasted, and none are left over at the end of the decoder.
    """

    def __init__(self, folder: Path):
        path = folder / "model.safetensors"
        try:
            state = load_file(path)
            with safe_open(path, "pt") as file:
                configs = file.metadata() or {}
            self.exact = {}
            for name, text in sorted(configs.items()):  # stored in any order
                part = {
                    key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")
                }
                self.exact[name] = ExactHyperprior.from_state(HyperpriorConfig(**json.loads(text)), part)
            first = next(iter(self.exact.values())).config
            self.grid = Grid(first.latents, first.rates)
            weights = {k.removeprefix("grid."): v.float() for k, v in state.items() if k.startswith("grid.")}
            self.grid.load_state_dict(weights)
        except (OSError, SafetensorError, ValueError, TypeError, RuntimeError, StopIteration) as error:
            raise InputError(
                f"{path} is not a model of this experiment ({error}): make it with train"
            ) from error
        self.grid.eval().requires_grad_(False)
        self.fingerprint = hashlib.sha256(path.read_bytes()).digest()[:8]
        self.names = list(self.exact)
        self.networks = obverse.open_codec("image").networks
        self.smooth = {name: DifferentiableHyperprior(exact) for name, exact in self.exact.items()}

    def analyse(self, pixels: np.ndarray, rate: int) -> Tensor:
        """(H, W, 3) uint8, sides multiples of 64 -> y (1, M, H/16, W/16) in steps of the grid, not rounded."""
        y = self.networks.analyse(pixels, LEVELS[rate])
        return self.grid.quantiser(y, torch.tensor([rate])).clamp(-Y_MAX, Y_MAX)

    @torch.inference_mode()
    def synthesise(self, y: Ints, rate: int) -> np.ndarray:
        """ŷ (M, h, w) -> (16 h, 16 w, 3) uint8."""
        latents = self.grid(torch.from_numpy(y)[None].float(), torch.tensor([rate]))
        return self.networks.synthesise(latents, LEVELS[rate], 16 * y.shape[1], 16 * y.shape[2])

    def write(
        self, latents: list[tuple[Ints, Ints | None]], rate: int, name: str, first: str, whole: int
    ) -> bytes:
        """The file of a set. latents: ŷ and, where it is rounded, z of each image, all of one size.

        name: the hyperprior; first: the one, of rounded z, that the first `whole` images are coded with.
        Raises MessageEmptyError where so few do not hold the bits that the others draw.
        """
        message = Message(interleave=False)
        for number, (y, z) in enumerate(latents):
            if number < whole:
                push_rounded(message, y, z, self.exact[first], rate)
            else:
                push_drawn(message, y, self.exact[name], rate)
        height, width = latents[0][0].shape[1:]
        config = {0: rate, 1: self.names.index(name), 2: self.names.index(first), 3: whole}
        shape = (len(latents), 16 * height, 16 * width, 3)
        return write(Container(CODEC, config, shape, {"y": message.to_bytes()}, self.fingerprint))

    def read(self, data: bytes, limits: Limits | None = None) -> np.ndarray:
        """What `write` wrote, as images (n, H, W, 3) uint8. Raises DecodeError, LimitError."""
        limits = limits or Limits()
        container = read(data, limits)
        if container.codec != CODEC or container.model != self.fingerprint:
            raise WrongModelError("the file was not written by this experiment with this model")
        config, shape = container.config, container.shape
        known = {0: len(LEVELS), 1: len(self.names), 2: len(self.names), 3: 1 + (shape[0] if shape else 0)}
        if (
            set(config) != set(known) or set(container.sections) != {"y"} or len(shape) != 4 or shape[3] != 3
            or min(shape) < 1 or shape[1] % 64 or shape[2] % 64
            or any(type(config[key]) is not int or not 0 <= config[key] < end for key, end in known.items())
        ):  # fmt: skip
            raise DamagedError("not the header of a set of images of this experiment")
        rate, name, first, whole = (config[key] for key in range(4))
        drawn, rounded = self.exact[self.names[name]], self.exact[self.names[first]]
        if rounded.config.drawn or (whole < shape[0] and not drawn.config.drawn):
            raise DamagedError("the file names a hyperprior of another kind than it needs")
        limits.check_pixels(shape[1] * shape[2])
        limits.check_memory(shape[0] * shape[1] * shape[2] * 3 + shape[1] * shape[2] * PIXEL_BYTES)
        grid = shape[1] // 16, shape[2] // 16
        message = Message.from_bytes(container.sections["y"], interleave=False)
        images = np.empty(shape, np.uint8)
        try:
            for number in reversed(range(shape[0])):
                if number < whole:
                    y = pop_rounded(message, rounded, grid, rate)
                else:
                    y = pop_drawn(message, drawn, grid, rate)
                images[number] = self.synthesise(y, rate)
        except MessageEmptyError:
            raise DamagedError("the file holds less than its images") from None
        if not message.empty:
            raise DamagedError("the file holds more than its images")
        return images

    # -- the sender's choices ----------------------------------------------------------------------------------

    def squared_error(self, pixels: np.ndarray, y: Ints, rate: int) -> float:
        """Sum of squared differences, the mean of the three channels, over all pixels."""
        difference = self.synthesise(y, rate).astype(np.float32) - pixels
        return float(np.square(difference).sum(dtype=np.float64)) / 3

    def net_bits(self, y: Ints, z: Ints | None, name: str, rate: int) -> float:
        """Bits of one image by the tables; for a drawn z the mean over DRAWS of them."""
        if z is not None:
            return sum(self.exact[name].bits(y, z, rate))
        posterior = self.exact[name].posterior(y, rate)
        plenty = 64 + math.prod(posterior.shape)
        drawn = (Message.random(plenty, seed).pop_mixtures(posterior) for seed in range(DRAWS))
        return float(np.mean([sum(self.exact[name].bits(y, z, rate)) for z in drawn]))

    def drawn_bits(self, y: Ints, name: str, rate: int) -> float:
        """How many bits of a message choose z: those that a chain must begin with. 0 where z is rounded."""
        if not self.exact[name].config.drawn:
            return 0.0
        posterior = self.exact[name].posterior(y, rate)
        message = Message.random(64 + math.prod(posterior.shape), 0)
        before = message.bits
        message.pop_mixtures(posterior)
        return before - message.bits

    def plain(self, pixels: np.ndarray, rate: int, name: str) -> tuple[Ints, Ints | None]:
        """ŷ and z of the networks, rounded; no z where it is drawn."""
        y = self.analyse(pixels, rate)[0]
        z = None if self.exact[name].config.drawn else self.smooth[name].guess(y, rate)
        return y.round().to(torch.int32).numpy(), z

    @torch.inference_mode(False)
    def searched(self, pixels: np.ndarray, rate: int, name: str, search: Search) -> tuple[Ints, Ints | None]:
        """ŷ and z by stochastic Gumbel annealing on bits + lmbda * squared error; or the plain ones if they cost less.

        Where z is rounded both are searched. Where it is drawn, ŷ is, and the bits are the negative ELBO of one z ~
        q(z|ỹ) an iteration, gradients passing through q: the receiver must find q from ŷ alone.
        """
        smooth, drawn = self.smooth[name], self.exact[name].config.drawn
        target = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().div_(255)
        which = torch.tensor([rate])
        y = self.analyse(pixels, rate).clone()
        start = [y] if drawn else [y, smooth.posterior(y, which)[0]]
        noise = torch.Generator().manual_seed(search.seed + 1)

        def cost(latents: Sequence[Tensor], relax: Relax) -> tuple[Tensor, Tensor]:
            y_hat = relax(latents[0])
            if drawn:
                bits = smooth.drawn_bits(y_hat, y_hat, which, noise)
            else:
                z_hat = relax(latents[1])
                bits = smooth.rounded_bits(y_hat, z_hat, z_hat, which)
            x_hat = synthesise(self.networks, self.grid(y_hat, which), which)
            error = (x_hat.clamp(0, 1) - target).square().sum() * (255**2 / 3)
            return (bits[0] + bits[1]).sum(), error

        worth = float(LMBDAS[rate])
        found = minimise(cost, start, worth, GumbelAnnealing(), search)
        numbers = [t[0].round().to(torch.int32).numpy() for t in found]
        z = None if drawn else numbers[1].clip(-Z_MAX, Z_MAX)
        candidates = [(numbers[0].clip(-Y_MAX, Y_MAX), z), self.plain(pixels, rate, name)]
        return min(
            candidates,
            key=lambda c: self.net_bits(*c, name, rate) + worth * self.squared_error(pixels, c[0], rate),
        )
