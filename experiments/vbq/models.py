"""Ordinary VAEs to compress with, as a user would have them: prior N(0, 1), encode(x) -> (mean, std), decode(z).

    python experiments/vbq/models.py photos --data DATA --out runs/vbq
    python experiments/vbq/models.py fashion --data DATA --out runs/vbq
    python experiments/vbq/models.py mnist --data DATA --out runs/vbq
    python experiments/vbq/models.py cifar --data DATA --out runs/vbq

Nothing in them knows of quantisation or rates. They are trained once, at one beta, on

    |x - x̂|^2 / (2 s^2) + KL(q(z|x) || N(0, 1)),    z ~ q(z|x)

with s, the standard deviation of a pixel, small: that puts the ceiling of the reconstructions high, and whoever
compresses with them coarsens the latents as far as wanted. `photos` starts as a plain 16x16 Karhunen-Loeve transform
(codecs/image/transform.py), whose posterior is known in closed form, so that two minutes of a CPU core already make a
model of photos that is worth compressing with; forty make a better one. It never sees the Kodak photos. `mnist` and
`cifar` are of other kinds, from a random start: fully connected with 32 latents an image, and strided convolutions with
24 channels at a quarter of the size.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from obverse.codecs.image.transform import UNIT, Analysis, Synthesis, block_statistics
from obverse.data.image_sets import read_image_set
from obverse.data.patches import PatchSampler, image_files
from obverse.transforms.blocks import depth_to_space, space_to_depth

PHOTO_FOLDERS = ("bsds500/train", "bsds500/val", "sunhays80")
PHOTO_NOISE = 5.0 / 32  # s in the units of the transform, 32 grey levels
FASHION_NOISE = 0.03  # s, pixels run from 0 to 1
LATENTS = 320
STRIDE = 16


class PhotoVae(nn.Module):
    """x (N, 3, H, W), 0 to 1 ──► analysis ──► / scale ──► mean, std (N, 320, H/16, W/16)

    z ──► * scale ──► synthesis ──► x̂

    H and W are multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.analysis = Analysis(LATENTS, 2, 2, 64, 128)
        self.synthesis = Synthesis(LATENTS, 2, 2, 64, 128)
        self.spread = nn.Conv2d(LATENTS, LATENTS, 1)
        self.gain = nn.Parameter(torch.ones(1, LATENTS, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, LATENTS, 1, 1))

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """The linear transform, and the posterior that a Gaussian source has under it."""
        std, vectors = block_statistics(images)
        self.analysis.initialise(std, vectors)
        self.synthesis.initialise(std, vectors)
        variance = self.analysis(images, self._quality(images)).square().mean((0, 2, 3)).clamp(min=1e-6)
        self.log_scale.copy_(variance.sqrt().log().view_as(self.log_scale))
        self.gain.copy_((variance / (variance + PHOTO_NOISE**2)).view_as(self.gain))
        self.spread.weight.zero_()
        self.spread.bias.copy_(0.5 * torch.log(PHOTO_NOISE**2 / (variance + PHOTO_NOISE**2)))

    def _quality(self, x: Tensor) -> Tensor:
        """The transforms of the image codec know qualities; here there is one."""
        return torch.zeros(x.shape[0], device=x.device)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior."""
        y = self.analysis(x, self._quality(x)) * torch.exp(-self.log_scale)
        return y * self.gain, torch.exp(self.spread(y.abs()).clamp(-8, 0.5))

    def decode(self, z: Tensor) -> Tensor:
        """z -> x̂, about 0 to 1."""
        return self.synthesis(z * torch.exp(self.log_scale), self._quality(z))


class FashionVae(nn.Module):
    """x (N, 1, 28, 28), 0 to 1 ──► blocks of 4x4, rotated ──► + residual ──► mean, std (N, 16, 7, 7)

    z ──► + residual ──► rotated back ──► x̂. Like the photos' VAE it starts as a Karhunen-Loeve transform.
    """

    def __init__(self) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.eye(16))
        self.centre = nn.Parameter(torch.zeros(1))
        self.log_scale = nn.Parameter(torch.zeros(1, 16, 1, 1))
        self.gain = nn.Parameter(torch.ones(1, 16, 1, 1))
        self.spread = nn.Parameter(torch.zeros(1, 16, 1, 1))
        self.down = nn.Sequential(
            nn.Conv2d(16, 48, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(48, 48, 3, 1, 1), nn.LeakyReLU(0.1),
            nn.Conv2d(48, 32, 1),
        )  # fmt: skip
        self.up = nn.Sequential(
            nn.Conv2d(16, 64, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(64, 64, 3, 1, 1), nn.LeakyReLU(0.1),
            nn.Conv2d(64, 64, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(64, 16, 1),
        )  # fmt: skip
        for last in (self.down[-1], self.up[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """The linear transform, and the posterior that a Gaussian source has under it."""
        self.centre.copy_(images.mean())
        blocks = space_to_depth(images - self.centre, 4).permute(0, 2, 3, 1).reshape(-1, 16).double()
        variance, vectors = torch.linalg.eigh(blocks.T @ blocks / len(blocks))
        self.basis.copy_(vectors.flip(1).T)
        variance = variance.flip(0).clamp(min=1e-6).float().view_as(self.gain)
        self.log_scale.copy_(0.5 * variance.log())
        self.gain.copy_(variance / (variance + FASHION_NOISE**2))
        self.spread.copy_(0.5 * torch.log(FASHION_NOISE**2 / (variance + FASHION_NOISE**2)))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior."""
        blocks = space_to_depth(x - self.centre, 4).permute(0, 2, 3, 1)
        y = (blocks @ self.basis.T).permute(0, 3, 1, 2) * torch.exp(-self.log_scale)
        mean, spread = self.down(y).chunk(2, 1)
        return y * self.gain + mean, torch.exp((self.spread + spread).clamp(-8, 0.5))

    def decode(self, z: Tensor) -> Tensor:
        """z -> x̂, about 0 to 1."""
        y = (z + self.up(z)) * torch.exp(self.log_scale)
        return depth_to_space((y.permute(0, 2, 3, 1) @ self.basis).permute(0, 3, 1, 2), 4) + self.centre


class MnistVae(nn.Module):
    """x (N, 1, 28, 28), 0 to 1 ──► fully connected ──► mean, std (N, 32). z ──► fully connected ──► x̂."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Linear(784, 512), nn.GELU(), nn.Linear(512, 256), nn.GELU(), nn.Linear(256, 64)
        )
        self.up = nn.Sequential(
            nn.Linear(32, 256), nn.GELU(), nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 784)
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior."""
        mean, log_std = self.down(x.flatten(1)).chunk(2, 1)
        return mean, torch.exp(log_std.clamp(-8, 0.5))

    def decode(self, z: Tensor) -> Tensor:
        """z -> x̂, 0 to 1."""
        return torch.sigmoid(self.up(z)).unflatten(1, (1, 28, 28))


class CifarVae(nn.Module):
    """x (N, 3, 32, 32), 0 to 1 ──► two strided convolutions ──► mean, std (N, 24, 8, 8). z ──► the same back ──► x̂."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 48, 4, 2, 1),
            nn.GELU(),
            nn.Conv2d(48, 96, 4, 2, 1),
            nn.GELU(),
            nn.Conv2d(96, 48, 3, 1, 1),
        )
        self.up = nn.Sequential(
            nn.Conv2d(24, 96, 3, 1, 1), nn.GELU(), nn.ConvTranspose2d(96, 48, 4, 2, 1), nn.GELU(),
            nn.ConvTranspose2d(48, 3, 4, 2, 1),
        )  # fmt: skip

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior."""
        mean, log_std = self.down(2 * x - 1).chunk(2, 1)
        return mean, torch.exp(log_std.clamp(-8, 0.5))

    def decode(self, z: Tensor) -> Tensor:
        """z -> x̂, about 0 to 1."""
        return self.up(z) / 2 + 0.5


def load_vae(name: str, folder: Path) -> nn.Module:
    """A trained VAE by its name."""
    vae: nn.Module = VAES[name]()
    vae.load_state_dict(load_file(folder / f"{name}.safetensors"))
    return vae.eval().requires_grad_(False)


VAES = {"photos": PhotoVae, "fashion": FashionVae, "mnist": MnistVae, "cifar": CifarVae}
MINUTES = {"photos": 40.0, "fashion": 5.0, "mnist": 3.0, "cifar": 4.0}  # of CPU time
NOISE = {"fashion": FASHION_NOISE, "mnist": 0.1, "cifar": 0.05}  # s, pixels run from 0 to 1


def small_images(name: str, data: Path, part: str, count: int | None = None) -> np.ndarray:
    """(N, C, H, W) uint8, "train" or "test" images of a set."""
    if name == "cifar":  # sheets of 25 x 40 images
        sheets = [np.asarray(Image.open(path)) for path in sorted((data / "cifar10").glob(f"{part}_*.png"))]
        tiles = np.stack(sheets).reshape(-1, 25, 32, 40, 32, 3).transpose(0, 1, 3, 5, 2, 4)
        return np.ascontiguousarray(tiles.reshape(-1, 3, 32, 32)[:count])
    folder = {"fashion": "fashion-mnist", "mnist": "mnist"}[name]
    stem = {"train": "train", "test": "t10k"}[part]
    return read_image_set(data / folder / f"{stem}-images-idx3-ubyte.gz")[:count, None]


def negative_elbo(vae: nn.Module, x: Tensor, noise: float, unit: float) -> tuple[Tensor, Tensor, Tensor]:
    """The loss in nats a pixel without its constant, and its parts: squared error of a pixel, KL in nats a pixel."""
    mean, std = vae.encode(x)
    restored = vae.decode(mean + std * torch.randn_like(std))
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    error = (restored - x).float().square().sum() / pixels
    kl = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).sum() / pixels
    return error * unit**2 / (2 * noise**2) + kl, error / x.shape[1], kl


def train(name: str, data: Path, out: Path, minutes: float, seed: int = 1) -> None:
    """Train until the CPU time is over; a run that was killed goes on from its last checkpoint."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    if name == "photos":
        files = image_files([data / folder for folder in PHOTO_FOLDERS])
        sampler = PatchSampler(files, 128, seed, lambda done, all_: None)
        vae: nn.Module = PhotoVae()

        def draw() -> Tensor:
            return torch.from_numpy(sampler.batch(8)).permute(0, 3, 1, 2).float() / 255

        vae.initialise(torch.cat([draw() for _ in range(32)]))
        noise, unit, rate = PHOTO_NOISE, UNIT, 6e-4
    else:
        images = small_images(name, data, "train")
        vae = VAES[name]()
        if isinstance(vae, FashionVae):
            vae.initialise(torch.from_numpy(images[:2000].copy()).float() / 255)

        def draw() -> Tensor:
            return torch.from_numpy(images[rng.integers(0, len(images), 128)]).float() / 255

        noise, unit, rate = NOISE[name], 1.0, 1e-3
    vae = vae.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(vae.parameters(), lr=rate)
    checkpoint, spent, step = out / f"{name}.pt", 0.0, 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        vae.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        spent, step = state["spent"], state["step"]
    average = {key: value.clone() for key, value in vae.state_dict().items()}
    start = time.process_time() - spent
    sums, saved = np.zeros(3), time.time()
    while (part := (time.process_time() - start) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * part))
        x = draw().contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            parts = negative_elbo(vae, x, noise, unit)
        optimiser.zero_grad()
        parts[0].backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 5.0)
        optimiser.step()
        with torch.no_grad():
            weight = min(0.999, (step + 1) / (step + 10))
            for key, value in vae.state_dict().items():
                average[key].lerp_(value, 1 - weight)
        sums += [part.item() for part in parts]
        step += 1
        if step % 100 == 0:
            loss, error, kl = sums / 100
            sys.stdout.write(
                f"step {step}, {(time.process_time() - start) / 60:.1f} min: loss {loss:.3f} nats a pixel, sampled "
                f"{-10 * math.log10(error):.2f} dB, KL {kl / math.log(2):.3f} bits a pixel\n"
            )
            sys.stdout.flush()
            sums[:] = 0
        if time.time() - saved > 60:
            state = {"model": average, "optimiser": optimiser.state_dict(), "step": step}
            torch.save(state | {"spent": time.process_time() - start}, checkpoint)
            save_file(
                {key: value.contiguous() for key, value in average.items()}, out / f"{name}.safetensors"
            )
            saved = time.time()
    save_file({key: value.contiguous() for key, value in average.items()}, out / f"{name}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=[*VAES])
    given = os.environ.get("OBVERSE_DATA")
    parser.add_argument("--data", type=Path, default=given, required=not given, help="or OBVERSE_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/vbq"))
    parser.add_argument(
        "--minutes", type=float, help="of CPU time; by default 40 for photos, 3 to 5 for others"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(
        arguments.name, arguments.data, arguments.out,
        arguments.minutes or MINUTES[arguments.name],
    )  # fmt: skip


if __name__ == "__main__":
    main()
