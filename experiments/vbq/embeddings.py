"""Bayesian word embeddings, compressed: bits a dimension against what the words still know.

    python experiments/vbq/embeddings.py train --data DATA --out runs/vbq
    python experiments/vbq/embeddings.py table --data DATA --out experiments/results/vbq

`train` fits the Bayesian skip-gram model (Barkan 2017; Bamler and Mandt 2017, without time) to the Bible: word and
context vectors u, v with prior N(0, 1), and counts of word pairs n+, and of pairs drawn by chance n-, with

    log p(n+, n- | u, v) = sum_ij  n+_ij log s(u_i v_j) + n-_ij log s(-u_i v_j)

Every number of u and v has a Gaussian posterior. Frequent words are known well, rare words are not, and most words of
a vocabulary are rare: that is what Variational Bayesian Quantization lives on. `table` compresses the posterior of
all u and v by each method into files with their own tables, and asks what comes back, by two tasks that the words are
used for:

- analogies: a is to b as c is to ?, the answer among the 10 words nearest to b - a + c ("hits at 10"). The pairs are
grammar
  (day, days), (kill, killed), (go, goeth), of words that are in the text at least 50 times.
- contexts: in verses that training has not seen, is a word among the 10 that the model finds likeliest within five
words of
  another one? The 100 most frequent words are no answers.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch.nn import functional

from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.container import read, write

Array = npt.NDArray[Any]
WORDS, DIMENSIONS, WINDOW = 8000, 64, 5
HELD_OUT = 20  # every 20th verse
COMMON = 50  # times that a word is in the text to be asked about
FUNCTION_WORDS = 100  # the most frequent words are no answers: they stand beside everything
METHODS = ("vbq", "uniform", "k-means")
# with hit rates as published for a middle point: 2.02 bits a dimension for VBQ, 3.25 for uniform quantisation
TARGETS = (0.80, 0.90, 0.95)


def words_of(data: Path) -> list[list[str]]:
    """The verses, as lists of lower-case words."""
    text = (data / "text" / "large" / "bible.txt").read_text("ascii", errors="ignore").lower()
    return [re.findall(r"[a-z]+", line) for line in text.splitlines()]


def vocabulary_of(verses: list[list[str]]) -> tuple[list[str], Array]:
    """The words, most frequent first, and how often each is there."""
    common = Counter(itertools.chain(*verses)).most_common(WORDS)
    return [word for word, _ in common], np.array([count for _, count in common])


def split(verses: list[list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Verses to train on, and those held out."""
    return [v for i, v in enumerate(verses) if i % HELD_OUT], verses[::HELD_OUT]


def counts(verses: list[list[str]], number: dict[str, int]) -> tuple[Array, Array]:
    """n+ and n-, (W, W) each, n- with as many pairs in all."""
    positive = np.zeros((WORDS, WORDS), np.float32)
    for verse in verses:
        row = np.array([number.get(word, -1) for word in verse], np.int64)
        for distance in range(1, WINDOW + 1):
            a, b = row[:-distance], row[distance:]
            known = (a >= 0) & (b >= 0)
            weight = (WINDOW + 1 - distance) / WINDOW
            np.add.at(positive, (a[known], b[known]), weight)
            np.add.at(positive, (b[known], a[known]), weight)
    words, contexts = positive.sum(1), positive.sum(0) ** 0.75
    negative = words[:, None] * (contexts / contexts.sum())[None]
    return positive, negative.astype(np.float32)


def train(data: Path, out: Path, steps: int, seed: int) -> None:
    """Variational inference; writes embeddings.npz: words, their counts and chances, and the posterior of u and v."""
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    verses, _ = split(words_of(data))
    vocabulary, often = vocabulary_of(verses)
    positive, negative = counts(verses, {word: i for i, word in enumerate(vocabulary)})
    plus, minus = torch.from_numpy(positive), torch.from_numpy(negative)
    u = (0.1 * torch.randn(WORDS, DIMENSIONS)).requires_grad_()
    v = (0.1 * torch.randn(WORDS, DIMENSIONS)).requires_grad_()
    u_log = torch.full((WORDS, DIMENSIONS), -2.0).requires_grad_()
    v_log = torch.full((WORDS, DIMENSIONS), -2.0).requires_grad_()
    optimiser = torch.optim.Adam([u, v, u_log, v_log], lr=0.02)
    rows, started, sums = 300, time.process_time(), 0.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.02 * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        some = torch.randperm(WORDS)[:rows]
        x = u[some] + u_log[some].exp() * torch.randn(rows, DIMENSIONS)
        y = v + v_log.exp() * torch.randn(WORDS, DIMENSIONS)
        score = x @ y.T
        likelihood = (
            plus[some] * functional.logsigmoid(score) + minus[some] * functional.logsigmoid(-score)
        ).sum()

        def kl(mean: torch.Tensor, log: torch.Tensor) -> torch.Tensor:
            return 0.5 * (mean.square() + (2 * log).exp() - 1 - 2 * log).sum()

        part = rows / WORDS
        loss = (kl(u[some], u_log[some]) + part * kl(v, v_log) - likelihood) / part
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        sums += loss.item()
        if (step + 1) % 100 == 0:
            spent = time.process_time() - started
            sys.stdout.write(
                f"step {step + 1}, {spent:.0f} s: -ELBO {sums / 100 / plus.sum().item():.4f} nats a pair\n"
            )
            sys.stdout.flush()
            sums = 0.0
    mean, std = torch.stack([u, v]).detach(), torch.stack([u_log, v_log]).detach().exp()
    np.savez(
        out / "embeddings.npz", words=np.array(vocabulary), counts=often, chance=negative[0] / negative[0].sum(),
        mean=mean.numpy(), std=std.numpy(),
    )  # fmt: skip


# -- what the words know -------------------------------------------------------------------------------------------


def analogies(vocabulary: list[str], often: Array, seed: int = 0) -> Array:
    """(n, 4) numbers of common words a, b, c, d with a : b = c : d, the pairs of each kind of grammar."""
    number = {word: i for i, word in enumerate(vocabulary) if often[i] >= COMMON}
    kinds: dict[str, list[tuple[str, str]]] = {"s": [], "ed": [], "eth": [], "ing": [], "people": []}
    for word in number:
        for ending in ("s", "ed", "eth", "ing"):
            stem = word.removesuffix("e") if ending != "s" else word
            if len(word) > 2 and stem + ending in number and word + ending != word:
                kinds[ending].append((word, stem + ending))
    kinds["people"] = [
        (a, b)
        for a, b in (
            ("man", "woman"), ("men", "women"), ("son", "daughter"), ("sons", "daughters"), ("father", "mother"),
            ("king", "queen"), ("brother", "sister"), ("husband", "wife"), ("he", "she"), ("his", "her"), ("him",
            "her"), ("servant", "handmaid"), ("ram", "ewe"), ("lord", "lady"),
        )
        if a in number and b in number
    ]  # fmt: skip
    rng = np.random.default_rng(seed)
    found = []
    for pairs in kinds.values():
        both = list(itertools.permutations(pairs, 2))
        rng.shuffle(both)
        found += [[number[w] for w in (*p, *q)] for p, q in both[:1500]]
    return np.array(found)


def hits_at_10(u: Array, questions: Array) -> float:
    """The part of the questions whose answer is among the 10 words nearest to b - a + c, those three left out."""
    unit = u / np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-9)
    a, b, c, d = questions.T
    hits = 0
    for first in range(0, len(questions), 1000):
        here = slice(first, first + 1000)
        scores = (unit[b[here]] - unit[a[here]] + unit[c[here]]) @ unit.T
        row = np.arange(len(scores))
        for known in (a[here], b[here], c[here]):
            scores[row, known] = -np.inf
        hits += _among_10(scores, d[here])
    return hits / len(questions)


def _among_10(scores: Array, answers: Array) -> int:
    """In how many rows the answer is among the 10 highest; of equals it comes last."""
    wanted = scores[np.arange(len(scores)), answers][:, None]
    return int(((scores >= wanted).sum(1) <= 10).sum())


def pairs_of(verses: list[list[str]], number: dict[str, int], most: int = 20_000, seed: int = 0) -> Array:
    """(n, 2) words, and words within the window of them that are no function words, drawn from verses."""
    found = []
    for verse in verses:
        row = [number.get(word, -1) for word in verse]
        for i, a in enumerate(row):
            near = row[max(0, i - WINDOW) : i] + row[i + 1 : i + 1 + WINDOW]
            found += [(a, b) for b in near if a >= 0 and b >= FUNCTION_WORDS]
    pairs = np.array(found)
    return pairs[np.random.default_rng(seed).choice(len(pairs), min(most, len(pairs)), replace=False)]


def contexts_at_10(u: Array, v: Array, chance: Array, pairs: Array) -> float:
    """The part of the pairs whose second word is among the 10 with the highest chance * exp(u v)."""
    hits = 0
    for first in range(0, len(pairs), 1000):
        here = pairs[first : first + 1000]
        scores = u[here[:, 0]] @ v.T + np.log(chance)
        scores[:, :FUNCTION_WORDS] = -np.inf
        hits += _among_10(scores, here[:, 1])
    return hits / len(pairs)


def measure(mean: Array, std: Array, tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each method and lmbda, of real files."""
    codec = PlugAndPlayCodec()
    rows: list[dict[str, Any]] = []
    for method in METHODS:
        for lmbda in 2.0 ** np.arange(-7, 3.5):
            blob = write(codec.encode((mean, std), codec.options(lmbda=float(lmbda), method=method)))
            z = codec.decode(read(blob))
            rate = 8 * len(blob) / mean.size
            rows.append({"method": method, "lmbda": f"{lmbda:.4g}", "bits_per_dimension": rate}
                        | {name: task(z) for name, task in tasks.items()})  # fmt: skip
    return rows


def rate_at(rows: list[dict[str, Any]], method: str, task: str, level: float) -> float:
    """Fewest bits a dimension at which a method reaches a level, between its points by straight lines."""
    curve = sorted((r["bits_per_dimension"], r[task]) for r in rows if r["method"] == method)
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if y0 < level <= y1:
            return x0 + (x1 - x0) * (level - y0) / (y1 - y0)
    return math.nan


def table(data: Path, runs: Path, out: Path) -> None:
    """Measure, write the CSV files, draw, and print."""
    arrays = np.load(runs / "embeddings.npz")
    vocabulary, mean, std, chance = arrays["words"].tolist(), arrays["mean"], arrays["std"], arrays["chance"]
    questions = analogies(vocabulary, arrays["counts"])
    pairs = pairs_of(split(words_of(data))[1], {word: i for i, word in enumerate(vocabulary)})
    tasks = {
        "analogies": lambda z: hits_at_10(z[0], questions),
        "contexts": lambda z: contexts_at_10(z[0], z[1], chance, pairs),
    }
    whole = {name: task(mean) for name, task in tasks.items()}
    rows = measure(mean, std, tasks)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "embeddings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(
        f"{mean.shape} numbers; {len(questions)} analogies, {len(pairs)} contexts; hits at 10 of float32: {whole}"
    )
    equal = []
    for task, full in whole.items():
        for part in TARGETS:
            rates = {method: rate_at(rows, method, task, part * full) for method in METHODS}
            equal.append({"task": task, "level": part * full} | {m: round(r, 3) for m, r in rates.items()})
            share = rates["vbq"] / rates["uniform"]
            told = ", ".join(f"{method} {rate:.2f}" for method, rate in rates.items())
            print(
                f"{task} {part * full:.3f} ({part:.0%} of float32): {told} bits a dimension; vbq / uniform {share:.2f}"
            )
    with (out / "embeddings_equal.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, equal[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(equal)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, (task, full) in zip(figure.subplots(1, 2), whole.items(), strict=True):
        for method, colour in zip(METHODS, ("#1f6f8b", "#c0392b", "#7f8c8d"), strict=True):
            curve = sorted((r["bits_per_dimension"], r[task]) for r in rows if r["method"] == method)
            axes.plot(*zip(*curve, strict=True), "o-", markersize=3, color=colour, label=method)
        axes.axhline(full, color="black", linewidth=0.8, linestyle=":", label="float32, 32 bits")
        axes.set_xlabel("bits a dimension, of the whole file")
        axes.set_ylabel(f"{task}, hits at 10")
        axes.set_xlim(0, 6)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(out / "embeddings.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["train", "table"])
    given = os.environ.get("OBVERSE_DATA")
    parser.add_argument("--data", type=Path, default=given, required=not given, help="or OBVERSE_DATA")
    parser.add_argument("--runs", type=Path, default=Path("runs/vbq"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "train":
        train(arguments.data, arguments.out or arguments.runs, arguments.steps, arguments.seed)
    else:
        table(arguments.data, arguments.runs, arguments.out or Path("experiments/results/vbq"))


if __name__ == "__main__":
    main()
