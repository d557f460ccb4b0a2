"""What `obverse train ID --help` and `obverse export ID --help` say first, from the declaration alone."""

from __future__ import annotations

from collections.abc import Sequence

from obverse.method import Method, Training

RESUMED = "A run that was stopped goes on from its checkpoint."


def train_help(method: Method, training: Training) -> str:
    """Of `obverse train ID`."""
    return _help(
        f"Train a model of {method.id}: {method.summary}.",
        f"{RESUMED * (training.fit is None)} {training.help}".strip(),
        training.examples,
    )


def export_help(method: Method) -> str:
    """Of `obverse export ID`."""
    return _help(
        f"Turn a training run of {method.id}, finished or not, into a model that codes.",
        "",
        (f"obverse export {method.id} runs/mine --out zoo/mine", "OBVERSE_ZOO=zoo obverse list"),
    )


def _help(first: str, more: str, examples: Sequence[str]) -> str:
    lines = "\n".join(f"- `{line}`" for line in examples)
    return "\n\n".join(part for part in (first, more, lines and f"For example:\n\n{lines}") if part)
