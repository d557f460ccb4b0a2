"""Train the trellis Wyner-Ziv codec on pairs (x, y): `obverse train wyner-ziv-trellis --data pairs.npz`.

    pairs ──► p(x|y) by maximum likelihood ──► step for the rate asked for ──► Slepian-Wolf code ──► model
                                                  └──── until files have that rate ─────┘

Nothing about the source is assumed. A tenth of the pairs, or a block where there are enough, is kept out of p(x|y): it
chooses the step, and measures the model for its card from whole files. The Slepian-Wolf code is designed on all pairs.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from obverse.codecs.wyner_ziv.labels import Labels
from obverse.codecs.wyner_ziv.mixture import MixturePrior, nats
from obverse.codecs.wyner_ziv.recipe import PairInputs, TrellisRecipe
from obverse.codecs.wyner_ziv.trained_range import TrainedRange
from obverse.codecs.wyner_ziv.trellis import WynerZivTrellisCodec
from obverse.coding.plane_design import Progress
from obverse.coding.planes import conditional_bits
from obverse.coding.slepian_wolf import BLOCK, SlepianWolfCode
from obverse.container import write
from obverse.container.files import make_folder
from obverse.errors import InputError, TrainingError, UnrecoverableBlockError
from obverse.quantization.trellis import STATES, Trellis
from obverse.training.checkpoint import Draws, Same
from obverse.training.log import Paced, log
from obverse.training.run import Run, Unvalidated
from obverse.training.schedule import half_cosine
from obverse.zoo import StoredModel, store_model

FEWEST = 10_000  # pairs
DESIGN = 12 * BLOCK  # pairs at most that the Slepian-Wolf code is designed on
LARGEST_ALPHABET = 4_096
MOST_ALIKE = 0.9  # of the samples of x may have one value
FILE = 16 * BLOCK  # samples of the file whose rate is said first, and whose rate is asked for
MOST_DESIGNS = 6  # of the Slepian-Wolf code, until the rate is met
NEAR, MET = 0.004, 0.01  # of the rate: how near is near enough to stop, and what is said to be met
LENGTHS = (1_024, 4_096, 16_384, 65_536)  # samples of files whose rates the card says
HALVINGS = 12  # of the range of steps
LARGEST = 1e12  # |x|, |y|, and one over the range of x: networks compute in single precision

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # weights, means, scales of mixtures, each (n, components)


def check_pairs(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) and (n, inputs) float64. Raises InputError."""
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiub":
        raise InputError(f"x and y must be numbers, not {x.dtype} and {y.dtype}")
    if x.ndim != 1 or y.ndim not in (1, 2):
        raise InputError(f"x must be (n,) and y (n,) or (n, inputs), not {x.shape} and {y.shape}")
    if len(x) != len(y):
        raise InputError(f"x has {len(x)} samples, y has {len(y)}: they must be pairs")
    if len(x) < FEWEST:
        raise InputError(f"{len(x)} pairs are too few to learn from: give at least {FEWEST:,}")
    x, y = x.astype(np.float64), y.astype(np.float64).reshape(len(y), -1)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("the pairs hold NaN or infinite values; drop those pairs first")
    if y.shape[1] == 0:
        raise InputError("y has no columns: give side information, or code x alone")
    if x.min() == x.max():
        raise InputError("x is constant: there is nothing to code")
    common, counts = np.unique(x, return_counts=True)
    share = float(counts.max() / len(x))
    if share > MOST_ALIKE:
        raise InputError(
            f"x is {common[counts.argmax()]:g} in {share:.2%} of the pairs: this code is for x with a density given y, "
            "and takes half a bit a sample at least; use wyner-ziv, or code which samples differ, and those alone"
        )
    for name, values in (("x", x), ("y", y)):
        if not (np.abs(values).max() < LARGEST and (name == "y" or np.ptp(values) > 1 / LARGEST)):
            raise InputError(
                f"the values of {name} are too large or too small to compute with: choose other units"
            )
    return x, y


def fit_prior(x: Tensor, y: Tensor, recipe: TrellisRecipe, out: Path) -> MixturePrior:
    """p(x|y) by maximum likelihood (Adam, cosine). out: the folder whose checkpoint a stopped run goes on from."""
    draws = Draws(recipe.seed)
    torch.manual_seed(recipe.seed)
    prior = MixturePrior(y.shape[1], recipe.components, recipe.hidden)
    prior.fit_linear(x, y, draws.generator)
    if float(prior.scale) < 1e-5 * float(x.std()):
        raise InputError("y tells x exactly: there is nothing to code")
    if recipe.components == 1 and recipe.hidden == 0:
        return prior  # least squares is the maximum already
    make_folder(out)
    optimiser = torch.optim.Adam(prior.parameters(), lr=recipe.lr)
    parts = {"same": Same(asdict(recipe), x, y), "prior": prior, "optimiser": optimiser, "draws": draws}
    run = Run(out, torch.device("cpu"), Unvalidated(recipe.steps, 30.0), parts, every=500)
    run.resume()
    for step in run.steps():
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * half_cosine(step, recipe.steps)
        chosen = torch.randint(0, len(x), (recipe.batch,), generator=draws.generator)
        loss = nats(prior(y[chosen]), x[chosen]).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimiser.step()
        run.log(bits=loss.item() / math.log(2))
    return prior


@torch.no_grad()
def mixture_arrays(prior: MixturePrior, y: np.ndarray) -> Arrays:
    """Weights, means, scales (n, components) as the decoder computes them."""
    double = MixturePrior(prior.inputs, prior.components, prior.hidden)
    double.load_state_dict(prior.state_dict())
    parts = [double.double()(part) for part in torch.from_numpy(y).split(BLOCK)]
    return tuple(
        torch.cat([getattr(p, name) for p in parts]).numpy() for name in ("weights", "means", "scales")
    )


def alphabet_for(mixture: Arrays, period: float) -> int:
    """The smallest power of two of labels whose points, a period apart, cover p(x|y): eight standard deviations
    of every component."""
    weights, means, scales = mixture
    centre = (weights * means).sum(1, keepdims=True)
    reach = np.where(weights > 1e-6, np.abs(means - centre) + 8 * scales, 0).max(1)
    needed = 2 * float(np.quantile(reach, 0.9999)) / period + 2
    size = 4
    while size < needed:
        size *= 2
    if size > LARGEST_ALPHABET:
        raise TrainingError(
            f"at this rate {size} labels are needed, more than {LARGEST_ALPHABET}: ask for a lower rate, or give side "
            "information that says more about x"
        )
    return size


def quantised(x: np.ndarray, mixture: Arrays, step: float, trellis: Trellis) -> tuple[np.ndarray, Labels]:
    """(n,) labels of x, and what a receiver knows of them."""
    parts = [trellis.quantise(part / step)[2] for part in np.split(x, range(BLOCK, len(x), BLOCK))]
    points = np.concatenate(parts)
    noise = float(np.mean((x - points * step) ** 2))
    alphabet = alphabet_for(mixture, trellis.modulus * step)
    known = Labels(*mixture, points % trellis.modulus, trellis.modulus, step, noise, alphabet)
    return points // trellis.modulus % alphabet, known


def step_for(
    rate_bits: float, x: np.ndarray, mixture: Arrays, trellis: Trellis, block: int, progress: Progress
) -> float:
    """The step at which raw branches, the labels' entropies and a usual loss of their codes make rate_bits."""
    spread = float(np.std(x))
    # in high resolution the rate is h(X|Y) - log2(volume * step); finer steps have more labels, which take long
    fine = 2.0 ** (entropy_of(x, mixture) - rate_bits) / trellis.volume
    low, high = (math.log(min(max(k * fine, 1e-6 * spread), 10 * spread)) for k in (0.5, 32))
    for halving in range(HALVINGS):
        progress(halving / HALVINGS)
        step = math.exp((low + high) / 2)
        try:
            labels, known = quantised(x, mixture, step, trellis)
            planes = conditional_bits(labels, known.log_q, known.alphabet)
            rate = 1 / trellis.dimensions + sum(min(1.0, bits + usual_gap(bits, block)) for bits in planes)
        except TrainingError:  # more labels than there may be: too fine
            rate = math.inf
        low, high = ((low + high) / 2, high) if rate > rate_bits else (low, (low + high) / 2)
    return math.exp(high)


def entropy_of(x: np.ndarray, mixture: Arrays) -> float:
    """h(X|Y) in bits, as p(x|y) has it for these samples."""
    weights, means, scales = mixture
    logs = (
        np.log(np.maximum(weights, 1e-300))
        - 0.5 * ((x[:, None] - means) / scales) ** 2
        - np.log(scales * math.sqrt(2 * math.pi))
    )
    return -float(np.logaddexp.reduce(logs, axis=1).mean()) / math.log(2)


def usual_gap(entropy_bits: float, block: int) -> float:
    """About what the code of a plane takes beyond its entropy (benchmarks/slepian_wolf.py)."""
    spread = math.sqrt(entropy_bits * (1 - entropy_bits)) if 0 < entropy_bits < 1 else 0.0
    return (0.05 if block == BLOCK else 0.095) * spread * (BLOCK / block) ** 0.25


def best_trellis(recipe: TrellisRecipe, x: np.ndarray, mixture: Arrays) -> tuple[Trellis, float]:
    """The trellis, of one or two dimensions, that is expected to have the smaller error at the rate asked for, and
    its step. Candidates are compared with few states, since those differ in time but hardly in order."""
    found = []
    log("choosing the trellis and its step")
    for dimensions in (1, 2):
        tell = Paced(f"trellis in {dimensions} dimension{'s' * (dimensions > 1)}")
        if recipe.rate > 1 / dimensions + 0.05:
            trellis = Trellis.of(min(recipe.states, 256), dimensions)
            step = step_for(recipe.rate, x, mixture, trellis, recipe.block, tell)
            error = quantised(x, mixture, step, trellis)[1].noise
            found.append((error, dimensions, step))
    _, dimensions, step = min(found)
    return Trellis.of(recipe.states, dimensions), step


def train(x: np.ndarray, y: np.ndarray, out: Path, recipe: TrellisRecipe) -> StoredModel:
    """Train on pairs x (n,), y (n,) or (n, inputs); writes the model to the folder `out`.

    Raises InputError for pairs that cannot be learned from, TrainingError for what cannot be run.
    """
    if recipe.states not in STATES:
        raise TrainingError(f"a trellis has {', '.join(map(str, STATES))} states, not {recipe.states}")
    x, y = check_pairs(x, y)
    rng = np.random.default_rng(recipe.seed)
    shuffled = rng.permutation(len(x))
    held, used = np.split(shuffled, [kept_out(len(x), recipe.block)])
    prior = fit_prior(torch.from_numpy(x[used]).float(), torch.from_numpy(y[used]).float(), recipe, out)

    sample = held[:BLOCK]
    trellis, step = best_trellis(recipe, x[sample], mixture_arrays(prior, y[sample]))
    chosen = rng.permutation(shuffled)[:DESIGN]
    step, known, code = design(recipe, x[chosen], mixture_arrays(prior, y[chosen]), trellis, step)
    config = {
        "codec": WynerZivTrellisCodec.method.id,
        "recipe": asdict(recipe),
        "prior": {"inputs": prior.inputs, "components": prior.components, "hidden": prior.hidden},
        "dimensions": trellis.dimensions,
        "states": trellis.states,
        "step": step,
        "noise": known.noise,
        "x": TrainedRange.of(x).as_dict(),
        "slepian_wolf": code.state(),
    }
    weights = save_safetensors({k: v.contiguous() for k, v in prior.state_dict().items()})
    draft = store_model(out, weights, config, "")
    facts = measure(WynerZivTrellisCodec(draft), x[held], y[held], prior)
    log(", ".join(f"{name} {value:.5g}" for name, value in facts.items()))
    stored = store_model(out, weights, config, card(facts, recipe, draft))
    if recipe.components > 1 or recipe.hidden:  # else no checkpoint is of this run
        (out / "checkpoint.pt").unlink(missing_ok=True)
    return stored


def kept_out(pairs: int, block: int) -> int:
    """How many of the pairs measure the model: a tenth, and a whole block as long as that is no more than a quarter."""
    return max(1000, pairs // 10, min(block, pairs // 4))


def design(
    recipe: TrellisRecipe, x: np.ndarray, mixture: Arrays, trellis: Trellis, step: float
) -> tuple[float, Labels, SlepianWolfCode]:
    """The step at which whole blocks have the rate asked for, what a receiver knows of the labels, and their code.

    What the codes take beyond the entropies is only known once they are designed: so the step is corrected, by the
    chord through the last two designs, until the rate is met.
    """
    tried: list[tuple[float, float, Labels, SlepianWolfCode]] = []  # ln step, how far off the rate is
    for attempt in range(MOST_DESIGNS):
        log(f"trellis in {trellis.dimensions} dimensions, step {step:.6g}: designing the Slepian-Wolf code")
        labels, known = quantised(x, mixture, step, trellis)
        code = SlepianWolfCode.design(
            labels, known.log_q, known.alphabet, recipe.failure, recipe.block, recipe.lists, recipe.seed,
            Paced("Slepian-Wolf code"),
        )  # fmt: skip
        rate = rate_of(code, trellis, FILE)
        planes = ", ".join(f"{plane.entropy:.4f} + {plane.gap(recipe.block):.4f}" for plane in code.planes)
        log(f"{rate:.4f} bits a sample, planes of {planes}")
        tried.append((math.log(step), rate - recipe.rate, known, code))
        if abs(rate - recipe.rate) < NEAR * recipe.rate or attempt == MOST_DESIGNS - 1:
            break
        step = math.exp(next_log_step([(at, off) for at, off, *_ in tried]))
    at, off, known, code = min(tried, key=lambda t: abs(t[1]))
    if abs(off) > MET * recipe.rate:
        log(f"no step has the rate asked for: {recipe.rate + off:.4f} bits is as near as it comes")
    return math.exp(at), known, code


def next_log_step(tried: list[tuple[float, float]]) -> float:
    """ln of the step to try after these: (ln step, by how many bits its rate is too high) each."""
    below = max((t for t in tried if t[1] > 0), default=None)  # the largest step that is still too fine
    above = min((t for t in tried if t[1] <= 0), default=None)
    if below is not None and above is not None and below[0] < above[0]:
        return below[0] + (above[0] - below[0]) * below[1] / (below[1] - above[1])
    at, off = min(tried, key=lambda t: abs(t[1]))
    slope = -1 / math.log(2)  # a bit for each halving, in high resolution
    if len(tried) > 1:
        (a, off_a), (b, off_b) = tried[-2:]
        chord = (off_b - off_a) / (b - a) if a != b else slope
        slope = min(max(chord, 1.5 * slope), 0.3 * slope)
    return at - off / slope


def rate_of(code: SlepianWolfCode, trellis: Trellis, n: int) -> float:
    """Bits a sample of a file of n samples but for its header: labels, branches, states and checks."""
    blocks = -(-n // BLOCK)
    return (8 * code.total_bytes(n) + trellis.steps(n) + 48 * blocks) / n


def fit(inputs: PairInputs, out: Path, recipe: TrellisRecipe) -> dict[str, object]:
    """What `obverse train wyner-ziv-trellis` does."""
    return {"fingerprint": train(*inputs.pairs, out, recipe).fingerprint.hex()}


@torch.no_grad()
def measure(
    codec: WynerZivTrellisCodec, x: np.ndarray, y: np.ndarray, prior: MixturePrior
) -> dict[str, float]:
    """The rate of a file of 16 blocks in bits a sample, and those of shorter ones; from whole blocks of held-out pairs,
    decoded, the mean squared error, and how far the first rate lies above the conditional Shannon lower bound
    h(X|Y) - 1/2 log2(2 pi e D), with h(X|Y) as p(x|y) estimates it.

    Pairs that fill no file are repeated until they do: the rate of a file depends on nothing but its length.
    """
    block = codec.code.block
    chosen = np.resize(np.arange(len(x)), max(block, len(x) // block * block))
    x, y = x[chosen], y[chosen]
    entropy = float(nats(prior(torch.from_numpy(y).float()), torch.from_numpy(x).float()).mean()) / math.log(
        2
    )

    def rate(n: int) -> float:
        return len(write(codec.encode(np.resize(x, n)))) * 8 / n

    facts = {"rate_bits": rate(FILE)}
    try:
        error = float(np.mean((codec.decode(codec.encode(x), side_info=y) - x) ** 2))
        bound = max(entropy - 0.5 * math.log2(2 * math.pi * math.e * max(error, 1e-300)), 0.0)
        above = facts["rate_bits"] - bound
        facts |= {
            "mse": error,
            "shannon_bound_bits": bound,
            "above_shannon_bound_bits": above,
            "above_shannon_bound_db": 20 * math.log10(2) * above,
        }
    except UnrecoverableBlockError:  # as rare as the recipe allows
        pass
    return facts | {f"rate_bits_of_{n}_samples": rate(n) for n in LENGTHS}


def card(facts: dict[str, float], recipe: TrellisRecipe, model: StoredModel) -> str:
    """The model card."""
    lines = [
        f"# {model.name}",
        "",
        f"Wyner-Ziv coding of scalars: a trellis of {recipe.states} states, Slepian-Wolf code, p(x|y)",
        f"learned from pairs ({recipe.components} Gaussians, hidden width {recipe.hidden}).",
        "",
        f"Measured from files of the pairs kept out, in blocks of {recipe.block:,} samples:",
        "",
        *[f"- {name}: {value:.6g}" for name, value in facts.items()],
        "",
        f"rate_bits is of a file of {FILE:,} samples; shorter ones cost more a sample, as said. shannon_bound_bits:",
        "the conditional Shannon lower bound h(X|Y) - 1/2 log2(2 pi e D), with h(X|Y) as p(x|y) has it: no code of",
        "less rate has this error. The limit itself may lie above it, and far from Gaussian it does.",
        "",
    ]
    return "\n".join(lines)
