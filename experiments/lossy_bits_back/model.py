"""The model of experiments/lossy_bits_back/run.py: the image codec's transforms on a grid of whole numbers.

    python experiments/lossy_bits_back/model.py --data DATA --out runs/lossy_bits_back

Analysis and synthesis are those of the shipped image codec and stay as they are. What is trained: the steps of the grid
and what the receiver adds to whole numbers (`Grid`), and on it two hyperpriors of equal size (`hyperprior.py`),
one whose z is rounded and one whose z is drawn. For `--settle` steps the grid learns together with the former, then it
stays where it is. After `--branch` steps the latter starts as a copy of the former, and both go on in the same steps on
the same photos, their rates now taken of whole latents. None of it sees the Kodak photos.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from exact_hyperprior import quantise_hyperprior
from hyperprior import Y_MAX, HyperpriorConfig, IntegerHyperprior
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import obverse
from obverse.codecs.image.codec import level_of
from obverse.codecs.image.effort import lmbda_of_level
from obverse.codecs.image.networks import ImageNetworks, quality_of
from obverse.codecs.image.prior import round_ste
from obverse.container.files import make_folder
from obverse.data.patches import PatchSampler, central_crop, image_files, split_files
from obverse.training.checkpoint import Checkpoint
from obverse.training.log import log
from obverse.training.progress import Progress
from obverse.training.run import check_device

PHOTO_FOLDERS = ("bsds500/train", "bsds500/val", "sunhays80")
QUALITIES = (15, 35, 55, 75)  # of the image codec: its transforms and its lambdas
LEVELS = tuple(level_of(quality) for quality in QUALITIES)
LMBDAS = torch.tensor([lmbda_of_level(level) for level in LEVELS])  # bits a squared grey level
KINDS = ("rounded", "drawn")
PATCH, BATCH = 192, len(QUALITIES)  # one patch for each quality
CALIBRATION = 48  # batches that activations' ranges are measured on


class Grid(nn.Module):
    """Between the transforms of the image codec and whole numbers.

        y ──► * gain ──► round ──► ŷ ──► * inverse + context(ŷ) ──► what the synthesis gets

    The codec's own grid has its origin at the predicted mean, which z tells; here what the neighbours tell of a
    latent is added at the receiver, where only the synthesis depends on it.
    """

    def __init__(self, latents: int, rates: int, hidden: int = 128):
        super().__init__()
        self.rates = rates
        self.log_gain = nn.Parameter(torch.zeros(rates, latents))
        self.inverse = nn.Parameter(torch.ones(rates, latents))
        self.context = nn.Sequential(
            nn.Conv2d(latents + rates, hidden, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(hidden, latents, 1),
        )
        nn.init.zeros_(self.context[-1].weight)
        nn.init.zeros_(self.context[-1].bias)

    def quantiser(self, y: Tensor, rate: Tensor) -> Tensor:
        """y (B, M, h, w) of the analysis, rate (B,) -> in steps of 1, not rounded."""
        return y * torch.exp(self.log_gain[rate])[:, :, None, None]

    def forward(self, y_hat: Tensor, rate: Tensor) -> Tensor:
        """Whole ŷ, or what stands for them -> latents as the synthesis takes them, in the codec's steps."""
        planes = F.one_hot(rate, self.rates).to(y_hat.dtype)[:, :, None, None]
        seen = torch.cat([y_hat, planes.expand(-1, -1, *y_hat.shape[2:])], 1)
        return y_hat * self.inverse[rate][:, :, None, None] + self.context(seen)


def analyse(networks: ImageNetworks, x: Tensor) -> Tensor:
    """One image of each rate, (4, 3, H, W) in [0, 1] -> latents in the codec's steps."""
    with torch.no_grad():
        t = torch.cat([quality_of(level) for level in LEVELS])
        return networks.analysis(x, t) * torch.exp(networks.gains.log_gain(t))


def synthesise(networks: ImageNetworks, y: Tensor, rate: Tensor) -> Tensor:
    """Latents in the codec's steps -> (B, 3, H, W), not clipped."""
    t = torch.cat([quality_of(level) for level in LEVELS])[rate]
    return networks.synthesis(y * torch.exp(networks.gains.log_inverse_gain(t)), t)


# -- training ----------------------------------------------------------------------------------------------


def to_tensor(batch: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float().div_(255)


def costs(
    networks: ImageNetworks,
    grid: Grid,
    models: dict[str, IntegerHyperprior],
    x: Tensor,
    error: bool,
    fixed: bool,
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """x (4, 3, H, W), one image for each rate -> bits a pixel by model (4,), lmbda * squared error (4,), and the
    bits a pixel of z. error: whether that is wanted; fixed: as `IntegerHyperprior` takes it."""
    rate = torch.arange(len(LEVELS), device=x.device)
    y = grid.quantiser(analyse(networks, x), rate).clamp(-Y_MAX, Y_MAX)
    pixels = x.shape[2] * x.shape[3]
    bits, of_z = {}, {}
    for name, model in models.items():
        y_bits, z_bits = model(y, rate, fixed)
        bits[name], of_z[name] = (y_bits + z_bits) / pixels, z_bits / pixels
    if not error:
        return bits, torch.zeros(len(LEVELS)), of_z
    x_hat = synthesise(networks, grid(round_ste(y), rate), rate)
    mse = (x_hat - x).square().mean((1, 2, 3)) * 255**2
    return bits, LMBDAS.to(x.device) * mse, of_z


def train(
    data: Path,
    out: Path,
    steps: int,
    settle: int,
    branch: int,
    hyper: int,
    halvings: int,
    seed: int,
    device_name: str,
) -> None:
    """Fit grid and hyperpriors, as the top of this file says.

    Resumes from out/checkpoint.pt; writes out/model.safetensors and out/validation.jsonl.
    """
    make_folder(out)
    device = check_device(device_name)
    torch.manual_seed(seed)
    networks = obverse.open_codec("image").networks
    for part in (networks.analysis, networks.synthesis, networks.gains):
        part.to(device)
    training, validation = split_files(image_files([data / folder for folder in PHOTO_FOLDERS]))
    sampler = PatchSampler(training, PATCH, seed, lambda i, n: None)
    crops = [central_crop(np.asarray(Image.open(path).convert("RGB")), 256) for path in validation]
    grid = Grid(networks.latents, len(LEVELS)).to(device)
    models = {
        kind: IntegerHyperprior(
            HyperpriorConfig(
                networks.latents, hyper, rates=len(LEVELS), halvings=halvings, drawn=kind == "drawn"
            )
        ).to(device)
        for kind in KINDS
    }

    def groups(module: nn.Module) -> list[dict[str, object]]:
        tables = [p for name, p in module.named_parameters() if p.dim() == 2]
        nets = [p for name, p in module.named_parameters() if p.dim() != 2]
        return [{"params": nets, "scale": 1.0}, {"params": tables, "scale": 4.0}]

    grid_optimiser = torch.optim.Adam(groups(grid), fused=True)
    optimiser = torch.optim.Adam([g for model in models.values() for g in groups(model)], fused=True)
    rounded, drawn = (models[kind] for kind in KINDS)
    parts = {"grid": grid, "optimiser": optimiser, "grid_optimiser": grid_optimiser} | models
    checkpoint = Checkpoint(out, device, parts, {"sampler": sampler.rng}, {}, 60.0)
    step = checkpoint.resume()
    if step == 0:
        with torch.no_grad():
            y = torch.stack([analyse(networks, to_tensor(sampler.batch(BATCH), device)) for _ in range(16)])
            rounded.initialise(y.square().mean((0, 3, 4)).sqrt())

    weight = torch.sqrt(LMBDAS.mean() / LMBDAS).to(device)

    def rate_of(done: int, of: int) -> float:
        return (
            1e-3 * min(1.0, (done + 1) / 100) * (0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, done / of))))
        )

    progress = Progress(out, step, steps)
    while step < steps:
        moving = step < settle
        if step == branch:
            drawn.start_from(rounded)
            for parameter in drawn.parameters():
                optimiser.state.pop(parameter, None)
        both = rate_of(step, branch) if step < branch else 0.5 * rate_of(step - branch, steps - branch)
        for which, rate in ((optimiser, both), (grid_optimiser, rate_of(step, settle))):
            for group in which.param_groups:
                group["lr"] = rate * group["scale"]
        x = to_tensor(sampler.batch(BATCH), device)
        grid.requires_grad_(moving)
        learning = models if step >= branch else {"rounded": rounded}
        bits, error, of_z = costs(networks, grid, learning, x, moving, step >= branch)
        cheaper = max(0.0, 0.9 * (1 - step / settle))  # z is cheap at first, so that it gets used
        loss = sum((weight * (value - cheaper * of_z[name])).mean() for name, value in bits.items())
        loss = loss + (weight * error).mean()
        optimiser.zero_grad()
        grid_optimiser.zero_grad()
        loss.backward()
        for module in (grid, *models.values()):
            if any(parameter.grad is not None for parameter in module.parameters()):
                nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        if moving:
            grid_optimiser.step()
        step += 1
        values = {name: float((weight * value.detach()).mean()) for name, value in bits.items()}
        values |= {"error": float((weight * error.detach()).mean())} if moving else {}
        progress.step(step, values)
        if step % 1000 == 0 or step == steps:
            for row in validate(networks, grid, models, crops, device):
                progress.validation(step, row)
        checkpoint.save_if_due(step, steps)
    export(out, networks, grid, models, sampler, device)


@torch.no_grad()
def validate(
    networks: ImageNetworks,
    grid: Grid,
    models: dict[str, IntegerHyperprior],
    crops: list[np.ndarray],
    device: torch.device,
) -> list[dict[str, float]]:
    """A row for each rate: bits a pixel of each model, rounded, the share of z in them, and PSNR in dB."""
    rows, errors = [], []
    for model in models.values():
        model.eval()
    for crop in crops:
        x = to_tensor(np.stack([crop] * len(LEVELS)), device)
        bits, error, of_z = costs(networks, grid, models, x, True, True)
        rows.append(torch.stack([torch.stack([bits[name], of_z[name]]) for name in models]).cpu())
        errors.append((error / LMBDAS.to(device)).cpu())
    for model in models.values():
        model.train()
    mean, mse = torch.stack(rows).mean(0), torch.stack(errors)
    psnr = (10 * torch.log10(255**2 / mse)).mean(0)
    return [
        {"quality": float(quality), "psnr_db": float(psnr[i])}
        | {f"{name} bpp": float(mean[k, 0, i]) for k, name in enumerate(models)}
        | {f"{name} z percent": float(100 * mean[k, 1, i] / mean[k, 0, i]) for k, name in enumerate(models)}
        for i, quality in enumerate(QUALITIES)
    ]


@torch.no_grad()
def export(
    out: Path,
    networks: ImageNetworks,
    grid: Grid,
    models: dict[str, IntegerHyperprior],
    sampler: PatchSampler,
    device: torch.device,
) -> None:
    """out/model.safetensors: the grid in half precision, the hyperpriors in integers."""
    rate = torch.arange(len(LEVELS))
    seen = []
    for _ in range(CALIBRATION):
        x = to_tensor(sampler.batch(BATCH), device)
        seen.append(grid.quantiser(analyse(networks, x), rate.to(device)).clamp(-Y_MAX, Y_MAX).cpu())
    y, rate = torch.cat(seen), rate.repeat(CALIBRATION)
    state = {f"grid.{name}": value.half().contiguous() for name, value in grid.cpu().state_dict().items()}
    configs = {}
    for name, model in models.items():
        exact = quantise_hyperprior(model.cpu(), y, rate)
        state |= {f"{name}.{key}": value for key, value in exact.export_state().items()}
        configs[name] = json.dumps(model.config.as_dict())
    save_file(state, out / "model.safetensors", configs)
    log(f"{out / 'model.safetensors'}: {(out / 'model.safetensors').stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that holds " + ", ".join(PHOTO_FOLDERS)
    )
    parser.add_argument("--out", type=Path, default=Path("runs/lossy_bits_back"))
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--branch", type=int, default=2700)
    parser.add_argument("--settle", type=int, default=800)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hyper", type=int, default=64, help="channels of z")
    parser.add_argument(
        "--halvings", type=int, default=1, choices=(1, 2), help="of the grid of y, for that of z"
    )
    options = vars(parser.parse_args())
    device = options.pop("device")
    train(**options, device_name=device)


if __name__ == "__main__":
    main()
