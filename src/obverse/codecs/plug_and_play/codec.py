"""Compress with a generative model that somebody has already trained, at any rate.

    x ──► encode (the user's) ──► mean, std ──► Variational Bayesian Quantization ──► symbols ──► message ──► file
    file ──► message ──► symbols ──► points of the grid ──► ẑ ──► decode (the user's) ──► x̂

The model is trained once, with no rate in mind; lmbda, an option of `encode`, says what a bit may cost. A stored model
(`obverse plug-and-play fit`) holds grids, integer tables for a ladder of lmbdas, and the user's two networks, if there
are any. It has two such ladders, one of quantiles and one of equal steps; a file is made with both, and the one of less
cost is kept: by the error of what the networks decode, where there are any (decoded_error.py). Without a model,
posterior means and standard deviations are compressed, with grid and tables in the file, and ẑ is what comes back:
exact to the last bit on every machine.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from obverse.codecs.model_codec import OptionalModelCodec, from_model
from obverse.codecs.plug_and_play import METHOD
from obverse.codecs.plug_and_play.activity import grow
from obverse.codecs.plug_and_play.decoded_error import DecodedError, batches, nats_each
from obverse.codecs.plug_and_play.generative_model import GenerativeModel
from obverse.codecs.plug_and_play.model import MOST_AXES, PlugModel, filled_side, image_batch
from obverse.codecs.plug_and_play.options import PlugAndPlayOptions
from obverse.codecs.plug_and_play.point_grid import EMPIRICAL, NORMAL, UNIFORM
from obverse.codecs.plug_and_play.posterior import Posterior, grouped
from obverse.codecs.plug_and_play.rate_ladder import (
    RateLadder,
    Rung,
    decoding_memory,
    excess,
    pack_ladder,
    unpack_ladder,
)
from obverse.coding import Message
from obverse.container import Container, Limits
from obverse.data.arrays import as_array
from obverse.data.conversion import ConversionWarning
from obverse.data.images import photo_of
from obverse.data.kinds import KINDS, Kind
from obverse.errors import CodingError, DamagedError, InputError, ObverseError, UnsupportedInputError
from obverse.method import Method

Array = npt.NDArray[Any]
RUNG, AXIS, SIZE = range(3)  # keys of the header's config
GENTLER = (0.5, 0.25, 0.1)  # of lmbda, where each latent is chosen
LATENT_BYTES = 16  # that a latent takes while it is decoded
FEW = 1 << 16  # latents for which every prior and depth is tried
MOST_PACKED = 1 << 28  # bytes of the tables in a file


class PlugAndPlayCodec(OptionalModelCodec):
    """What a model's encode takes, or posteriors: a pair of arrays (mean, std), or a .npz file of them."""

    method: ClassVar[Method] = METHOD

    @from_model
    def plug(self) -> PlugModel | None:
        """The stored model, read. Raises InputError."""
        return PlugModel.of(self.model) if self.model else None

    @property
    def kind(self) -> Kind:
        """What the model codes, or posteriors."""
        coded = self.plug.data if self.plug else "posterior"
        return KINDS[coded if coded == "posterior" else f"posterior or {coded}"]

    # -- the contract -------------------------------------------------------------------------------------------

    def encode(
        self,
        data: Any,
        options: PlugAndPlayOptions | None = None,
    ) -> Container:
        """A posterior, or what the model's encode takes, to a container.

        data: `Posterior`, (mean, std), {"mean": ..., "std": ...}; with a model that has networks also an array (N,
        ...) of what its encode takes, or an image. With lmbda near ln 2, half of what the ELBO counts as distortion is
        lost. Without a model, and without method, prior, depth and axis: one grid and table for all latents, vbq's or
        equal steps, and where they are few whichever prior and depth of vbq's cost least, else empirical and 12. Raises
        InputError.
        """
        options = options or PlugAndPlayOptions()
        posterior, size, x = self._posterior(data)
        return self.encode_latents(posterior, x, options, size)

    def encode_latents(
        self,
        posterior: Posterior,
        x: Array | None,
        options: PlugAndPlayOptions,
        size: tuple[int, int] | None = None,
    ) -> Container:
        """A posterior of x (N, ...), where that is known, to a container. size: height and width of an image."""
        lmbda, axis = float(options.lmbda), options.axis
        how = {"method": options.method, "prior": options.prior, "depth": options.depth}
        given = {name: value for name, value in how.items() if value is not None}
        if self.plug is None:
            if posterior.mean.ndim > MOST_AXES:
                raise UnsupportedInputError(
                    f"latents have at most {MOST_AXES} axes, not {posterior.mean.ndim}"
                )
            made = _own_rung(posterior, axis, lmbda, given)
        else:
            if given or axis is not None:
                raise InputError(
                    "the model fixes method, prior, depth and axis: give them when it is fitted, or use no model"
                )
            made = self._by_model(self.plug, posterior, x, lmbda)
            if size is not None:
                made.config[SIZE] = list(size)
        return Container(self.id, made.config, posterior.shape, made.sections, self.fingerprint, options.kept)

    def rate_bits(self, data: Any, options: PlugAndPlayOptions | None = None) -> npt.NDArray[np.float64]:
        """(n,) bits that the tables give to each item, the first axis of the latents; each carries its share of tables
        in the file."""
        container = self.encode(data, options)
        if self.plug is None:
            rung = RateLadder.from_state(unpack_ladder(container.sections["model"], MOST_PACKED)).rungs[0]
            axis = None if container.config[AXIS] < 0 else container.config[AXIS]
        else:
            rung, axis = self.plug.rungs[container.config[RUNG]], self.plug.axis
        shape = container.shape
        symbols = _pop(container.sections["symbols"], rung, grouped(np.empty(shape, np.int8), axis).shape)
        bits = rung.tables.bits(symbols).reshape(shape).reshape(shape[0], -1).sum(1)
        return bits + 8 * len(container.sections.get("model", b"")) / shape[0]

    def decode(self, container: Container, limits: Limits | None = None) -> Array:
        """ẑ float32; with a model that has networks, x̂: float32, or of an image uint8 (H, W) or (H, W, 3).

        Raises DamagedError, LimitError.
        """
        limits = Limits.of(limits)
        size = self._size(container, limits)
        z = self.latents(container, limits)
        if self.plug is None or self.plug.networks is None:
            return z
        made = self._run(z, limits)
        if size is None:
            return made
        if made.ndim != 4 or len(made) != 1 or made.shape[1] != self.plug.channels:
            raise DamagedError(f"the model's decode made shape {made.shape}, which is no image")
        if min(made.shape[2] - size[0], made.shape[3] - size[1]) < 0:
            raise DamagedError("the file holds fewer latents than its image has")
        pixels = np.rint(np.clip(made[0, :, : size[0], : size[1]], 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))

    def latents(self, container: Container, limits: Limits | None = None) -> npt.NDArray[np.float32]:
        """ẑ in the shape of the posterior, whatever the model makes of it. Raises DamagedError, LimitError."""
        limits = Limits.of(limits)
        shape, sections, config = container.shape, container.sections, container.config
        wanted = {"symbols"} if self.plug else {"model", "symbols"}
        if (
            container.items is not None
            or set(sections) != wanted
            or not 1 <= len(shape) <= MOST_AXES
            or min(shape) < 1
        ):
            raise DamagedError("not the header of a file of latents")
        limits.check_shape(shape)
        limits.check_memory(math.prod(shape) * LATENT_BYTES)
        if self.plug is None:
            axis = config.get(AXIS)
            if set(config) != {AXIS} or type(axis) is not int or not -1 <= axis < len(shape):
                raise DamagedError("not the header of a file of latents with its own tables")
            arrays = unpack_ladder(sections["model"], min(limits.memory, MOST_PACKED))
            limits.check_memory(decoding_memory(arrays))
            ladder = RateLadder.from_state(arrays)
            rungs, groups, number, axis = ladder.rungs, ladder.groups, 0, None if axis < 0 else axis
            if len(rungs) != 1:
                raise DamagedError("the file holds tables for other rates than its own")
        else:
            rungs, groups, axis = self.plug.rungs, self.plug.groups, self.plug.axis
            number = config.get(RUNG, -1)
            fits = len(shape) == len(self.plug.latents) and all(
                size in (None, n) for size, n in zip(self.plug.latents, shape, strict=True)
            )
            if (
                not set(config) <= {RUNG, SIZE} or type(number) is not int or not 0 <= number < len(rungs)
                or not fits
            ):  # fmt: skip
                raise DamagedError("not the header of a file of latents of this model")
        template = np.empty(shape, np.int8)
        if groups != (1 if axis is None else shape[axis]):
            raise DamagedError("the file has tables for another number of groups than its latents")
        rung = rungs[number]
        limits.check_memory(rung.decoding_memory)
        symbols = _pop(sections["symbols"], rung, grouped(template, axis).shape)
        return rung.grid.dequantise(symbols).reshape(shape)

    # -- parts ---------------------------------------------------------------------------------------------------

    def _by_model(self, plug: PlugModel, posterior: Posterior, x: Array | None, lmbda: float) -> _Made:
        """With the rung of least cost, by the decoded error where the model decodes.

        On equal steps a bit may then be dearer to the choice of each latent than lmbda says: what is least by the
        posterior, latent by latent, decodes to more error than it should (decoded_error.py).
        """
        latents, rungs = posterior.grouped(plug.axis), plug.rungs
        numbers = plug.nearest(lmbda)
        tried = [_Made.of(latents, rungs[i], lmbda, {RUNG: i}) for i in numbers]
        gentle = [i for i in numbers if rungs[i].grid.kind == UNIFORM and rungs[i].by_cost]
        if plug.networks is None or (len(tried) == 1 and not gentle):
            return min(tried, key=lambda one: one.cost)
        try:
            error = DecodedError(
                plug.networks.decode, posterior.mean, x, 1.0 if plug.data == "image" else None
            )
            errors = [error.of(one.latents.reshape(posterior.shape)) for one in tried]
            unit = nats_each(errors, [one.excess for one in tried])
            if unit is None:
                return min(tried, key=lambda one: one.cost)

            def decoded(one: _Made) -> _Made:
                lost = error.of(one.latents.reshape(posterior.shape)) / unit
                return replace(one, cost=lost + lmbda * one.bits)

            found = [
                replace(one, cost=e / unit + lmbda * one.bits) for one, e in zip(tried, errors, strict=True)
            ]
            for i in gentle:
                last = found[numbers.index(i)]
                for part in GENTLER:
                    one = decoded(_Made.of(latents, rungs[i], lmbda, {RUNG: i}, part * lmbda))
                    if not one.cost < last.cost:
                        break
                    last = one
                found.append(last)
            return min(found, key=lambda one: one.cost)
        except ObverseError:  # networks that do not take these latents say nothing of them
            return min(tried, key=lambda one: one.cost)

    def _posterior(self, data: Any) -> tuple[Posterior, tuple[int, int] | None, Array | None]:
        """The posterior of the data, height and width of an image, and the batch that it is of. Raises InputError."""
        posterior, size, x = _given_posterior(data), None, None
        if posterior is None:
            networks = self.plug.networks if self.plug else None
            if self.plug is None or networks is None:
                why = "this model holds no networks" if self.plug else "without a model"
                raise UnsupportedInputError(
                    f"{why}, only posteriors can be coded: pass (mean, std), or the .npz file of both"
                )
            if self.plug.data == "image":
                x, size = self._image(data)
                posterior = networks.model.posterior(x)
            else:
                posterior, x = self._of_array(data, networks.model)
        if self.plug is not None:
            fits = posterior.mean.ndim == len(self.plug.latents) and all(
                size in (None, n) for size, n in zip(self.plug.latents, posterior.shape, strict=True)
            )
            if not fits:
                pattern = ", ".join("any" if n is None else str(n) for n in self.plug.latents)
                raise UnsupportedInputError(
                    f"this model codes latents of shape ({pattern}), not {posterior.shape}; fit another one"
                )
        return posterior, size, x

    def _of_array(self, data: Any, networks: GenerativeModel) -> tuple[Posterior, Array]:
        x = as_array(data)
        if x.dtype.kind not in "biuf":
            raise InputError(f"the data is no array of numbers, but of {x.dtype}")
        x = x.astype(np.float32)
        if x.ndim < 1 or len(x) == 0:
            raise InputError("there is nothing to code: pass an array (N, ...) of at least one item")
        if not np.isfinite(x).all():
            raise InputError("the array holds NaN or infinite values; replace them first")
        parts = [networks.posterior(batch) for batch in batches(x)]
        if len({part.shape[1:] for part in parts}) > 1:
            raise InputError("the model's encode makes latents of changing shape")
        whole = (np.concatenate([getattr(part, name) for part in parts]) for name in ("mean", "std"))
        return Posterior(*whole), x

    def _image(self, data: Any) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
        """An image as a batch (1, C, H, W) from 0 to 1 with sides of multiples, and its own height and width."""
        if self.plug is None:
            raise InputError("images are coded with a model")
        photo = photo_of(data)
        if photo.alpha is not None:
            raise UnsupportedInputError("this model codes images without alpha: flatten the image first")
        if photo.icc:
            warnings.warn("the colour profile of the image is not kept", ConversionWarning, stacklevel=4)
        return image_batch(photo.pixels, self.plug.channels, self.plug.multiple), photo.size

    def _size(self, container: Container, limits: Limits) -> tuple[int, int] | None:
        """Height and width of the image that the file says it holds, checked."""
        if SIZE not in container.config:
            return None
        size = container.config[SIZE]
        if (
            self.plug is None or self.plug.data != "image" or type(size) is not list or len(size) != 2
            or any(type(side) is not int or side < 1 for side in size)
        ):  # fmt: skip
            raise DamagedError("not the header of an image of this model")
        limits.check_pixels(size[0] * size[1])
        shape = container.shape
        most = math.prod(filled_side(side, self.plug.multiple) for side in size)
        if len(shape) == 4 and shape[2] * shape[3] > most:
            raise DamagedError("the file has more latents than its image has pixels")
        return size[0], size[1]

    def _run(self, z: Array, limits: Limits) -> Array:
        """The model's decode, some items at a time. Raises LimitError, and DamagedError where the latents are none of
        its."""
        networks = self.plug.networks if self.plug else None
        if networks is None:
            return z
        try:
            needs = [networks.decode.needs(batch.shape) for batch in batches(z)]
            # all batches, and once more where they are put together
            limits.check_memory(max(one.memory for one in needs) + 2 * sum(one.output for one in needs))
            networks.decode.check_work(sum(one.work for one in needs), z.shape, limits.memory)
            made = [networks.decode(batch, limits) for batch in batches(z)]
            whole = np.concatenate(made)
        except (InputError, ValueError) as error:
            raise DamagedError(f"the latents of the file cannot be decoded: {error}") from error
        if not np.isfinite(whole).all():
            raise DamagedError("the model's decode makes of the latents numbers that are not finite")
        return whole


def _given_posterior(data: Any) -> Posterior | None:
    """Data that is a posterior already; None for other data."""
    if isinstance(data, Posterior):
        return data
    if isinstance(data, Mapping):
        if set(data) != {"mean", "std"}:
            raise InputError(f"a posterior is given as mean and std, not {', '.join(map(str, data))}")
        return Posterior.of(data["mean"], data["std"])
    if isinstance(data, tuple) and len(data) == 2:
        return Posterior.of(*data)
    return None


@dataclass(frozen=True)
class _Made:
    """What a file may hold, the latents (A, G, B) in it, and its cost: what they lose, and lmbda a bit.

    excess: (z - mean)^2 / (2 std^2), the sum of all.
    """

    cost: float
    sections: dict[str, bytes]
    config: dict[Any, Any]
    latents: npt.NDArray[np.float32]
    excess: float

    @property
    def bits(self) -> int:
        """Of all sections."""
        return 8 * sum(map(len, self.sections.values()))

    @classmethod
    def of(
        cls, latents: Posterior, rung: Rung, lmbda: float, config: dict[Any, Any], choice: float | None = None
    ) -> _Made:
        """With a rung of a model. choice: what a bit costs where each latent is chosen, by default lmbda."""
        return cls.with_symbols(latents, rung, rung.quantise(latents, choice or lmbda), lmbda, {}, config)

    @classmethod
    def with_symbols(
        cls,
        latents: Posterior,
        rung: Rung,
        symbols: npt.NDArray[np.int32],
        lmbda: float,
        sections: dict[str, bytes],
        config: dict[Any, Any],
    ) -> _Made:
        """With symbols (A, G, B) that were chosen; sections: of the file beside them."""
        whole = sections | {"symbols": _push(symbols, rung)}
        bits, lost = 8 * sum(map(len, whole.values())), excess(latents, rung.grid, symbols)
        return cls(lost + lmbda * bits, whole, config, rung.grid.dequantise(symbols), lost)


def _own_rung(posterior: Posterior, axis: int | None, lmbda: float, given: dict[str, Any]) -> _Made:
    """With the grid and tables that cost least for these latents, themselves counted."""
    from obverse.codecs.plug_and_play.fit import OF_FILE, STEPS, VBQ, fit

    tried = [given]
    if given.get("method", VBQ) == VBQ and posterior.mean.size <= FEW:
        tried = [
            {"prior": prior, "depth": depth} | given for prior in (EMPIRICAL, NORMAL) for depth in (6, 9, 12)
        ]
    if not given:
        tried.append({"method": STEPS})
    made = []
    for options in tried:
        rung = fit(posterior, axis, [lmbda], tables=OF_FILE, **options).rungs[0]
        latents = posterior.grouped(axis)
        symbols = rung.quantise(latents)
        rung = replace(rung, tables=OF_FILE.of(symbols, rung.grid))
        sections = {"model": pack_ladder(RateLadder((rung,)))}
        made.append(
            _Made.with_symbols(latents, rung, symbols, lmbda, sections, {AXIS: -1 if axis is None else axis})
        )
    return min(made, key=lambda one: one.cost)


def _push(symbols: npt.NDArray[np.int32], rung: Rung) -> bytes:
    """Group after group, so that a table stays in the cache and a group's contexts are known when it is popped."""
    message, tables = Message(), rung.tables
    index = np.ascontiguousarray(tables.index(symbols).transpose(1, 0, 2))
    row = np.ascontiguousarray(symbols.transpose(1, 0, 2))
    if tables.contexts.count == 1:
        message.push(row.ravel(), tables.family, index.ravel())
    else:
        for group in reversed(range(tables.groups)):
            message.push(row[group].ravel(), tables.family, index[group].ravel())
    return message.to_bytes()


def _pop(data: bytes, rung: Rung, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """The symbols (A, G, B). Raises DamagedError."""
    a, groups, b = shape
    tables, contexts = rung.tables, rung.tables.contexts
    try:
        message = Message.from_bytes(data)
        if contexts.count == 1:
            index = np.repeat(np.arange(groups, dtype=np.uint32), a * b)
            row = message.pop(tables.family, index)
        else:
            row = np.empty((groups, a * b), np.int32)
            activity = np.zeros(a * b, np.int32)
            for group in range(groups):
                table = contexts.of_group(group, activity) + np.uint32(group * contexts.count)
                row[group] = message.pop(tables.family, table)
                grow(activity, row[group], contexts.usual[group])
    except CodingError as error:
        raise DamagedError(f"the latents are damaged: {error}") from None
    if not message.empty:
        raise DamagedError("the file holds more latents than its header says")
    return np.ascontiguousarray(row.reshape(groups, a, b).transpose(1, 0, 2))
