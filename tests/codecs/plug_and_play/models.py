"""Small generative models with known posteriors, and what goes wrong with others."""

from __future__ import annotations

import io

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor, nn
from torch.nn import functional

from obverse.zoo import StoredModel, fingerprint


class Linear(nn.Module):
    """x (N, 6), two latents that matter a lot, two that matter little; an orthonormal transform, so nothing is lost."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        basis = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
        self.basis = nn.Parameter(basis[:, :4].contiguous())
        self.scales = nn.Parameter(torch.tensor([4.0, 2.0, 0.5, 0.25]))
        self.only_encode = nn.Parameter(torch.tensor(0.1))
        self.only_decode = nn.Parameter(torch.zeros(10_000))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x @ self.basis / self.scales
        return mean, (self.only_encode / self.scales).abs().expand(mean.shape)

    def decode(self, z: Tensor) -> Tensor:
        return (z * self.scales) @ self.basis.T + self.only_decode.sum()


class Blocks(nn.Module):
    """Images (N, C, H, W) with sides that are multiples of 4, as the means and details of 4x4 blocks."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        n = 16 * channels
        generator = torch.Generator().manual_seed(5)
        mixing = torch.randn(n, n, generator=generator)
        mixing[0] = 1
        q = torch.linalg.qr(mixing.T)[0].T
        self.kernel = nn.Parameter(q.reshape(n, channels, 4, 4).contiguous())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.nn.functional.conv2d(x - 0.5, self.kernel, stride=4)
        return mean, torch.full_like(mean, 0.02)

    def decode(self, z: Tensor) -> Tensor:
        return torch.nn.functional.conv_transpose2d(z, self.kernel, stride=4) + 0.5


class BadStd(Linear):
    """Forgot the exponential."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = super().encode(x)
        return mean, std.log()


class BadShape(Linear):
    """Its decode does not invert the shape of its encode."""

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z)[:, :5]


class OneThing(Linear):
    """Its encode returns one tensor."""

    def encode(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().encode(x)[0]


class Mlp(nn.Module):
    """Images (N, 1, 7, 7), by hidden layers; changes its activations in place, and drops some in training."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Flatten(), nn.Linear(49, 32), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(32, 8)
        )
        self.up = nn.Sequential(nn.Linear(4, 32), nn.GELU(), nn.Linear(32, 49))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.down(x).chunk(2, 1)
        return mean, (0.5 * log_variance).exp()

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.up(z)).view(-1, 1, 7, 7)


class Residual(nn.Module):
    """Two convolutions beside one, with batch and group norm."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.batch = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.group = nn.GroupNorm(4, outputs)
        self.beside = nn.Conv2d(inputs, outputs, 1, stride)
        self.batch.running_mean.uniform_(-0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.batch(self.first(x)), inplace=True)
        return functional.silu(self.group(self.second(hidden)) + self.beside(x))


class ResNet(nn.Module):
    """Photos (N, 3, H, W) of any size of multiples of 4, with residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(Residual(3, 16, 2), Residual(16, 16, 2), nn.Conv2d(16, 16, 1))
        self.up = nn.Sequential(
            nn.Conv2d(8, 16, 1), Residual(16, 16), nn.Upsample(scale_factor=2, mode="nearest"), Residual(16, 16),
            nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 3, 3, padding="same"),
        )  # fmt: skip

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = torch.split(self.down(x - 0.5), 8, 1)
        return mean, torch.exp(log_std.clamp(-6, 2))

    def decode(self, z: Tensor) -> Tensor:
        return torch.tanh(self.up(z)) * 0.5 + 0.5


class Attention(nn.Module):
    """A block of a transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.in_, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU("tanh"), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        parts = self.in_(self.norm(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).reshape(n, tokens, width))
        return x + self.mlp(x)


class Transformer(nn.Module):
    """Photos (N, 3, H, W) of any size of multiples of 4, as tokens; positions are resized to the photo."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.positions = nn.Parameter(torch.randn(1, width, 8, 8) * 0.1)
        self.blocks = nn.Sequential(Attention(width, 4), Attention(width, 4))
        self.head, self.tail = nn.Linear(width, 16), nn.Linear(8, width)
        self.layer = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True)
        self.pixels = nn.Linear(width, 48)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.patches(x)
        n, _, height, width = tokens.shape
        tokens = tokens + functional.interpolate(self.positions, size=(height, width), mode="bilinear")
        made = self.head(self.blocks(tokens.flatten(2).transpose(1, 2)))
        mean, std = made.transpose(1, 2).reshape(n, 16, height, width).chunk(2, 1)
        return mean, functional.softplus(std) + 1e-3

    def decode(self, z: Tensor) -> Tensor:
        n, _, height, width = z.shape
        made = self.pixels(self.layer(self.tail(z.flatten(2).transpose(1, 2))))
        return torch.sigmoid(functional.pixel_shuffle(made.transpose(1, 2).reshape(n, 48, height, width), 4))


def archived(model: StoredModel, module: nn.Module, x: np.ndarray) -> StoredModel:
    """The model as it was stored before there were graphs: networks as archives of torch.export."""
    arrays = {name: array for name, array in load(model.weights).items() if name.startswith("ladder.")}
    example = torch.from_numpy(x)
    for name in ("encode", "decode"):
        arrays[f"network.{name}"] = np.frombuffer(_archive(module, name, example), np.uint8)
        with torch.no_grad():
            example = module.encode(example)[0].contiguous() if name == "encode" else example
    weights = save(arrays)
    return StoredModel("old", weights, model.config, fingerprint(weights, b"old"))


def _archive(module: nn.Module, name: str, example: Tensor) -> bytes:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, x: Tensor) -> object:
            return getattr(self.model, name)(x)

    free = {axis: torch.export.Dim.AUTO for axis in (0, *range(2, example.ndim))}
    with torch.no_grad():
        program = torch.export.export(Part().eval(), (example,), dynamic_shapes=(free,))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def make_linear() -> Linear:
    return Linear()


linear = Linear()
bad_std, bad_shape, one_thing = BadStd(), BadShape(), OneThing()
no_model = object()
