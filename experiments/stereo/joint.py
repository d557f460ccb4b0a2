"""Joint coding of a right view: what an encoder could do that sees the left view too. For `views.py`.

The classical way, on the image codec's own latents and prior, so that the difference to the stereo codec is the
price of being distributed and nothing else:

1. block matching on the true right view: a disparity per block of 16x16 pixels, sent;
2. the left view, moved by it, goes through the same analysis: latents w, known to both sides;
3. a mode per block, sent: 0 leaves the prior's mean alone, others pull it towards w with a weight per channel and
   take a narrower table, both fitted on the training pairs;
4. the fusion network with the left view, as in the stereo codec.

Bits are those of real messages, encoded and decoded again. It is an experiment, not a file format: w comes
out of floats, so that encoder and decoder must be the same machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from obverse.codecs.image.latents import ALIGN, FRACTION, STEPS, Z_MAX
from obverse.codecs.image.networks import ImageNetworks
from obverse.codecs.image.prior import take_slice
from obverse.codecs.image.scales import SCALES
from obverse.codecs.stereo.pairs import shift_rows
from obverse.coding import Message, TableFamily

BLOCK = 16
REACH = 192
MODES = 4
DELTAS = np.arange(0, -25, -3)  # table indices of 13 % each: how much narrower a table may become
STEP_SYMBOLS = 2 * REACH - 1


def pad(pixels: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) -> (H', W', 3), sides extended to multiples of ALIGN as the image codec does."""
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, 2)
    return np.pad(pixels, ((0, -pixels.shape[0] % ALIGN), (0, -pixels.shape[1] % ALIGN), (0, 0)), mode="edge")


def block_disparity(left: np.ndarray, right: np.ndarray, lmbda: float) -> np.ndarray:
    """(H', W', 3) padded views -> (H'/16, W'/16) disparities in pixels, least squared error plus lmbda * bits.

    The bits are those of the step from the block to the left, about 1 + 2 log2(1 + |step|); each row of blocks
    is optimal (Viterbi). lmbda: squared grey levels, summed over a block, per bit.
    """
    x, y = (view.astype(np.float32).mean(2) for view in (right, left))
    rows, columns = x.shape[0] // BLOCK, x.shape[1] // BLOCK
    error = np.empty((rows, columns, REACH), np.float32)
    for d in range(REACH):
        moved = np.concatenate([y[:, d:], np.repeat(y[:, -1:], d, 1)], 1)
        error[:, :, d] = np.square(x - moved).reshape(rows, BLOCK, columns, BLOCK).sum((1, 3))
    d = np.arange(REACH)
    bits = 1 + 2 * np.log2(1 + np.abs(d[:, None] - d[None, :]))
    out = np.empty((rows, columns), np.int64)
    for r in range(rows):
        total = error[r, 0].copy()
        came_from = np.empty((columns, REACH), np.int64)
        for c in range(1, columns):
            reached = total[:, None] + lmbda * bits
            came_from[c] = reached.argmin(0)
            total = reached.min(0) + error[r, c]
        out[r, -1] = total.argmin()
        for c in range(columns - 1, 0, -1):
            out[r, c - 1] = came_from[c, out[r, c]]
    return out


def moved_left(left: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """The padded left view where the blocks' disparities see it, uint8."""
    full = np.kron(disparity, np.ones((BLOCK, BLOCK))).astype(np.float32)
    return shift_rows(left, full).round().astype(np.uint8)


def steps_of(disparity: np.ndarray) -> np.ndarray:
    """Disparities as steps from the block to the left, from the block above in the first column; symbols from 0."""
    steps = np.diff(disparity, axis=1, prepend=0)
    steps[:, 0] = np.diff(disparity[:, 0], prepend=0)
    return steps + REACH - 1


def disparity_of(symbols: np.ndarray) -> np.ndarray:
    """The inverse of `steps_of`."""
    steps = symbols - (REACH - 1)
    first = np.cumsum(steps[:, 0])
    return np.cumsum(np.concatenate([first[:, None], steps[:, 1:]], 1), axis=1)


def mode_context(modes: np.ndarray) -> np.ndarray:
    """The mode of the block to the left, MODES in the first column: which table a mode is coded with."""
    return np.concatenate([np.full((modes.shape[0], 1), MODES), modes[:, :-1]], 1)


def smoothed_tables(counts: np.ndarray) -> TableFamily:
    """(T, K) counts -> T tables, with a little for what was never seen."""
    shape = counts + 0.02 + 1e-3 * counts.sum(1, keepdims=True) / counts.shape[1]
    return TableFamily.categorical(shape / shape.sum(1, keepdims=True))


@dataclass
class JointModel:
    """weight: (MODES, M) of w against the prior's mean; delta: (MODES, M) added to table indices; both for one
    quality level. Tables of the disparity's steps and of the modes."""

    level: int
    weight: np.ndarray
    delta: np.ndarray
    step_tables: TableFamily
    mode_tables: TableFamily
    lmbda: float


@dataclass
class Latents:
    """A view on its way: gained latents y of the right view and w of the moved left one, (1, M, h, w); the
    hyper-latents z; the prior's means (32nds) and table indices for each slice of y; steps of the disparity."""

    y: Tensor
    w: Tensor
    z: Tensor
    means: list[np.ndarray]
    indices: list[np.ndarray]
    steps: np.ndarray


@torch.inference_mode()
def latents_of(
    networks: ImageNetworks,
    left: np.ndarray,
    right: np.ndarray,
    level: int,
    lmbda: float,
    moved: np.ndarray | None = None,
) -> Latents:
    """moved: the left view as the right one sees it, where that is known otherwise than by block matching."""
    left, right = pad(left), pad(right)
    if moved is None:
        disparity = block_disparity(left, right, lmbda)
        moved = moved_left(left, disparity)
    else:
        disparity = np.zeros((right.shape[0] // BLOCK, right.shape[1] // BLOCK), np.int64)
    y, w = (networks.analyse(view, level) for view in (right, pad(moved)))
    z = networks.hyper_analyse(y).round().clamp(-Z_MAX, Z_MAX)
    means, indices = [], []

    def coder(k: int, mean: Tensor, index: Tensor) -> Tensor:
        means.append(mean.numpy().copy())
        indices.append(index.numpy().copy())
        return take_slice(y, k)[0].sub(mean / FRACTION).round().to(torch.int32)

    networks.prior.run(z, level, coder)
    return Latents(y, w, z, means, indices, steps_of(disparity))


def slice_of(values: np.ndarray, k: int, channels: int) -> np.ndarray:
    """A map of blocks (h, w) as slice k of the latents sees it: (M, h/2, w/2)."""
    full = torch.from_numpy(values)[None, None].expand(1, channels, -1, -1)
    return take_slice(full, k)[0].numpy()


def table_bits(tables: TableFamily, values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Bits of real residuals under Gaussian tables, one for each."""
    return tables.bits(np.rint(values).astype(np.int32), index.astype(np.uint8))


def fit(
    networks: ImageNetworks,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    level: int,
    lmbda: float,
    rounds: int = 3,
    known: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
) -> JointModel:
    """Alternate between the best mode of each block and the best weights and tables of each mode (Lloyd).

    known: for each pair the moved left view and the modes (h, w), where both are given and stay as they are.
    """
    moved = [None] * len(pairs) if known is None else [view for view, _ in known]
    samples = [
        latents_of(networks, left, right, level, lmbda, view)
        for (left, right), view in zip(pairs, moved, strict=True)
    ]
    channels = samples[0].y.shape[1]
    # every latent of the training pairs as a row of its channel: residual r, step v towards w, table index s
    r, v, s, block = [], [], [], []
    first = 0
    for sample in samples:
        h, w = sample.y.shape[2:]
        numbers = first + np.arange(h * w).reshape(h, w)
        first += h * w
        for k in range(STEPS):
            mean = sample.means[k] / FRACTION
            r.append((take_slice(sample.y, k)[0].numpy() - mean).reshape(channels, -1))
            v.append((take_slice(sample.w, k)[0].numpy() - mean).reshape(channels, -1))
            s.append(sample.indices[k].reshape(channels, -1))
            block.append(slice_of(numbers, k, channels).reshape(channels, -1))
    r, v, s, block = (np.concatenate(part, 1) for part in (r, v, s, block))
    tables = networks.tables
    plain = table_bits(tables, r, s)
    # channels that hardly cost anything stay as they are
    busy = np.flatnonzero(plain.sum(1) > 1e-3 * plain.sum())
    inverse_variance = np.exp(-2 * s.astype(np.float64) * np.log(256 / 0.11) / (SCALES - 1))
    misfit = np.zeros(first)
    np.add.at(misfit, block[busy].ravel(), ((v - r)[busy] ** 2 * inverse_variance[busy]).ravel())
    energy = np.zeros(first)
    np.add.at(energy, block[busy].ravel(), (r[busy] ** 2 * inverse_variance[busy]).ravel())
    ratio = misfit / (energy + 1e-9)
    modes = np.digitize(-ratio, -np.quantile(ratio, [0.75, 0.5, 0.25]))
    if known is not None:
        modes, rounds = np.concatenate([m.ravel() for _, m in known]), 1
    weight, delta = np.zeros((MODES, channels)), np.zeros((MODES, channels), np.int64)
    for _ in range(rounds):
        cost = np.zeros((MODES, first))
        for mode in range(MODES):
            for c in busy:
                chosen = modes[block[c]] == mode
                if (mode or known is not None) and chosen.any():
                    q = inverse_variance[c, chosen]
                    rc, vc = r[c, chosen], v[c, chosen]
                    weight[mode, c] = np.clip((q * rc * vc).sum() / ((q * vc * vc).sum() + 1e-9), 0, 1)
                    moved = rc - weight[mode, c] * vc
                    bits = [
                        table_bits(tables, moved, np.clip(s[c, chosen].astype(int) + d, 0, SCALES - 1)).sum()
                        for d in DELTAS
                    ]
                    delta[mode, c] = DELTAS[int(np.argmin(bits))]
                index = np.clip(s[c].astype(int) + delta[mode, c], 0, SCALES - 1)
                cost[mode] += np.bincount(
                    block[c], table_bits(tables, r[c] - weight[mode, c] * v[c], index), first
                )
        if known is not None:
            break
        share = np.bincount(modes, minlength=MODES) + 1.0
        modes = (cost - np.log2(share / share.sum())[:, None]).argmin(0)
    maps, at = [], 0
    for sample in samples:
        h, w = sample.y.shape[2:]
        maps.append(modes[at : at + h * w].reshape(h, w))
        at += h * w
    mode_counts = np.zeros((MODES + 1, MODES))
    step_counts = np.zeros((1, STEP_SYMBOLS))
    for modes_map, sample in zip(maps, samples, strict=True):
        np.add.at(mode_counts, (mode_context(modes_map).ravel(), modes_map.ravel()), 1)
        np.add.at(step_counts, (0, sample.steps.ravel()), 1)
    # neighbouring steps are nearly as likely: spread the counts
    far = np.exp(-np.abs(np.arange(-12, 13)) / 3)
    step_counts = step_counts + 0.3 * np.convolve(step_counts[0], far / far.sum(), "same")[None]
    return JointModel(level, weight, delta, smoothed_tables(step_counts), smoothed_tables(mode_counts), lmbda)


def adjust(
    model: JointModel, w: Tensor, modes: np.ndarray, k: int, mean: Tensor, index: Tensor
) -> np.ndarray:
    """Pull the prior's means of slice k, in place, and return the table indices to use: the conditional model."""
    channels = mean.shape[0]
    at = slice_of(modes, k, channels)
    weight = np.take_along_axis(model.weight.T, at.reshape(channels, -1), 1).reshape(at.shape)
    delta = np.take_along_axis(model.delta.T, at.reshape(channels, -1), 1).reshape(at.shape)
    target = take_slice(w, k)[0].numpy() * FRACTION
    step = np.rint(weight * (target - mean.numpy())).astype(np.int32)
    mean += torch.from_numpy(step)
    return np.clip(index.numpy().astype(np.int64) + delta, 0, SCALES - 1).astype(np.uint8)


@torch.inference_mode()
def best_modes(networks: ImageNetworks, model: JointModel, sample: Latents) -> np.ndarray:
    """The mode that costs each block the fewest bits, its own included; (h, w)."""
    h, w = sample.y.shape[2:]
    channels = sample.y.shape[1]
    numbers = np.arange(h * w).reshape(h, w)
    cost = np.zeros((MODES, h * w))
    for k in range(STEPS):
        block = slice_of(numbers, k, channels)
        for mode in range(MODES):
            mean, index = torch.from_numpy(sample.means[k].copy()), torch.from_numpy(sample.indices[k])
            index = adjust(model, sample.w, np.full((h, w), mode), k, mean, index)
            residual = take_slice(sample.y, k)[0].numpy() - mean.numpy() / FRACTION
            cost[mode] += np.bincount(
                block.ravel(), table_bits(networks.tables, residual, index).ravel(), h * w
            )
    modes = np.zeros((h, w), np.int64)
    context = np.full(h, MODES)
    symbols = np.arange(MODES)
    for c in range(w):
        own = np.stack([model.mode_tables.bits(np.full(h, m), context) for m in symbols])
        modes[:, c] = (cost.reshape(MODES, h, w)[:, :, c] + own).argmin(0)
        context = modes[:, c]
    return modes


@torch.inference_mode()
def encode(
    networks: ImageNetworks, model: JointModel, left: np.ndarray, right: np.ndarray
) -> tuple[bytes, float, float]:
    """The message, and the bits of the latents and of the disparities and modes in it."""
    sample = latents_of(networks, left, right, model.level, model.lmbda)
    modes = best_modes(networks, model, sample)
    z_index = networks.prior.z_tables(model.level).to(torch.uint8)[:, None, None].expand(sample.z.shape[1:])
    coded = [(sample.z[0].to(torch.int32).numpy(), z_index.numpy())]

    def coder(k: int, mean: Tensor, index: Tensor) -> Tensor:
        tables = adjust(model, sample.w, modes, k, mean, index)
        residual = take_slice(sample.y, k)[0].sub(mean / FRACTION).round().to(torch.int32)
        coded.append((residual.numpy(), tables))
        return residual

    networks.prior.run(sample.z, model.level, coder)
    message = Message()
    for symbols, index in coded[::-1]:
        message.push(symbols, networks.tables, index)
    context = mode_context(modes)
    for c in range(modes.shape[1] - 1, -1, -1):
        message.push(modes[:, c], model.mode_tables, context[:, c])
    message.push(sample.steps, model.step_tables)
    latent_bits = sum(float(networks.tables.bits(s, i).sum()) for s, i in coded)
    side_bits = float(
        model.mode_tables.bits(modes, context).sum() + model.step_tables.bits(sample.steps, 0).sum()
    )
    return message.to_bytes(), latent_bits, side_bits


@torch.inference_mode()
def decode(networks: ImageNetworks, model: JointModel, data: bytes, left: np.ndarray) -> np.ndarray:
    """The mirror of `encode`: the right view, like `left` in size and channels, before fusion."""
    height, width = left.shape[:2]
    padded = pad(left)
    rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    message = Message.from_bytes(data)
    steps = message.pop(model.step_tables, np.zeros((rows, columns), np.int64))
    modes = np.zeros((rows, columns), np.int64)
    context = np.full(rows, MODES)
    for c in range(columns):
        modes[:, c] = context = message.pop(model.mode_tables, context)
    w = networks.analyse(moved_left(padded, disparity_of(steps)), model.level)
    index = networks.prior.z_tables(model.level).numpy()[:, None, None]
    z = message.pop(networks.tables, np.broadcast_to(index, (networks.prior.hyper, rows // 4, columns // 4)))

    def coder(k: int, mean: Tensor, index: Tensor) -> Tensor:
        tables = adjust(model, w, modes, k, mean, index)
        return torch.from_numpy(message.pop(networks.tables, tables))

    y_hat = networks.prior.join(networks.prior.run(torch.from_numpy(z)[None].float(), model.level, coder))
    pixels = networks.synthesise(y_hat, model.level, height, width)
    return pixels.mean(2, dtype=np.float32).round().astype(np.uint8) if left.ndim == 2 else pixels


@torch.inference_mode()
def conditional_bits(
    networks: ImageNetworks, model: JointModel, right: np.ndarray, moved: np.ndarray, modes: np.ndarray
) -> float:
    """Ideal bits of the right view's latents (hyper-latents as they are) for who knows `moved` and `modes`."""
    sample = latents_of(networks, moved, right, model.level, model.lmbda, moved)
    bits = networks.tables.bits(
        sample.z[0].to(torch.int32).numpy(),
        networks.prior.z_tables(model.level)
        .numpy()[:, None, None]
        .repeat(sample.z.shape[2], 1)
        .repeat(sample.z.shape[3], 2),
    ).sum()
    for k in range(STEPS):
        mean = torch.from_numpy(sample.means[k].copy())
        index = adjust(model, sample.w, modes, k, mean, torch.from_numpy(sample.indices[k]))
        residual = take_slice(sample.y, k)[0].numpy() - mean.numpy() / FRACTION
        bits += table_bits(networks.tables, residual, index).sum()
    return float(bits)
