"""Bits-back coding: lossless with a latent-variable model, in a few pushes and pops.

A model that explains x by something hidden, z, gives no table for x: p(x) is a sum over all z. But a message is a
stack whose bits can be read as symbols, so the sender takes z from the message itself:

    pop  z under q(z|x)      the message gets shorter: its bits choose z
    push x under p(x|z)
    push z under p(z)        net: -log p(x|z) - log p(z) + log q(z|x), on average the negative ELBO

The receiver undoes it: pops z, pops x, and now that it has x, pushes z under q(z|x) and so gets back the very bits
that chose z (Townsend, Bird and Barber, "Practical lossless compression with latent variables using bits back
coding", ICLR 2019). They carry the images before this one: a set is one chain, and only its beginning
needs bits from elsewhere.

With several layers z1, ..., zL in a Markov chain, each is popped after the one below was used, so that few bits are
needed to begin (Kingma, Abbeel and Ho, "Bit-Swap", ICML 2019):

    pop z1|x, push x|z1,  pop z2|z1, push z1|z2,  ...  push zL

    >>> import numpy as np
    >>> from obverse.coding import Message, TableFamily
    >>> from obverse.coding.bits_back import Tabled, pop_item, push_item
    >>> rain = TableFamily.from_frequencies([[960, 64], [256, 768]], [0, 0], 10, escape=False)  # p(x | z)
    >>> season = TableFamily.from_frequencies([[512, 512]], [0], 10, escape=False)  # p(z)
    >>> guess = TableFamily.from_frequencies([[809, 215], [79, 945]], [0, 0], 10, escape=False)  # q(z | x)
    >>> class Weather:
    ...     layers = 1
    ...     def posterior(self, layer, x): return Tabled(guess, x)
    ...     def likelihood(self, layer, z): return Tabled(rain, z)
    ...     def prior(self): return Tabled(season, np.zeros(5, int))
    >>> message = Message.random(words=2, seed=0)
    >>> push_item(message, np.array([0, 1, 1, 0, 0]), Weather())
    >>> pop_item(message, Weather()), message == Message.random(words=2, seed=0)
    (array([0, 1, 1, 0, 0], dtype=int32), True)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

from obverse.coding.logistic_mixture import LogisticMixtures
from obverse.coding.message import Message, Symbols
from obverse.coding.tables import TableFamily
from obverse.errors import CodingError, MessageEmptyError

Array = npt.NDArray[Any]
M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)


class Distribution(Protocol[M_contra]):
    """A distribution of one array of symbols. Arbitrary bits must be poppable: tables without escape."""

    def push(self, message: M_contra, symbols: Array) -> None:
        """Put the symbols on the message."""

    def pop(self, message: M_contra) -> Array:
        """Take them off."""


class LatentModel(Protocol[M_contra]):
    """What bits-back coding needs: all distributions of x, z1, ..., zL. What is "below" layer 0 is x.

    The messages are handed on to the distributions and not looked at: a Message with interleave=False, or
    whatever else the model's distributions push on, such as a list of messages for a batch.
    """

    @property
    def layers(self) -> int:
        """L, at least 1."""

    def posterior(self, layer: int, below: Array) -> Distribution[M_contra]:
        """q(z of this layer | the layer below)."""

    def likelihood(self, layer: int, above: Array) -> Distribution[M_contra]:
        """p(the layer below | z of this layer, `above`)."""

    def prior(self) -> Distribution[M_contra]:
        """p(z of the top layer). Uniform, if the values of z are bins of equal mass."""


def push_item(message: M, x: Array, model: LatentModel[M]) -> None:
    """Push x; the message grows by the negative ELBO of x for the z that its bits choose.

    Raises:
        MessageEmptyError: where the message holds too few bits to choose z.
    """
    below = x
    for layer in range(model.layers):
        z = model.posterior(layer, below).pop(message)
        model.likelihood(layer, z).push(message, below)
        below = z
    model.prior().push(message, below)


def pop_item(message: M, model: LatentModel[M]) -> Array:
    """Pop what `push_item` pushed; the message is then, bit for bit, what it was before that."""
    z = model.prior().pop(message)
    for layer in reversed(range(model.layers)):
        below = model.likelihood(layer, z).pop(message)
        model.posterior(layer, below).push(message, z)
        z = below
    return z


def push_chain(message: M, items: Iterable[Array], model: LatentModel[M]) -> Iterator[M]:
    """Push one item after the other, yielding the message after each. The last comes off first.

    Raises:
        CodingError: when the message does not hold enough initial bits; it says so.
    """
    for number, x in enumerate(items):
        try:
            push_item(message, x, model)
        except MessageEmptyError as error:
            raise CodingError(
                f"not enough initial bits: the message ran empty while item {number} chose its latents; start from a "
                "longer Message.random"
            ) from error
        yield message


def pop_chain(message: M, count: int, model: LatentModel[M]) -> Iterator[Array]:
    """Pop `count` items, the last pushed first; then the initial bits are back on the message."""
    for _ in range(count):
        yield pop_item(message, model)


@dataclass(frozen=True)
class Tabled:
    """Symbols with one table of a family each.

    Attributes:
        tables: the family.
        index: the table of each symbol, of the symbols' shape.
    """

    tables: TableFamily
    index: Array

    def push(self, message: Message, symbols: Array) -> None:
        message.push(symbols, self.tables, self.index)

    def pop(self, message: Message) -> Symbols:
        return message.pop(self.tables, self.index)


@dataclass(frozen=True)
class Mixed:
    """Symbols with one mixture of discretised logistics each."""

    mixtures: LogisticMixtures

    def push(self, message: Message, symbols: Array) -> None:
        message.push_mixtures(symbols, self.mixtures)

    def pop(self, message: Message) -> Symbols:
        return message.pop_mixtures(self.mixtures)
