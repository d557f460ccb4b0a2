"""Feature vectors of a frozen encoder, lossy, so small that the images need not be kept for prediction.

    images ──► encoder (the user's) ──► x (n, d) ──► FeatureBottleneck ──► z ──► message of 256 vectors ──► item
    file ──► items ──► z ──► x̂ ──► any probe, index or classifier that was made for x

A file is a stream of items: the model, unless it has a name of its own; prototypes of classes, if there are any; then
256 vectors an item, so that vector i is read without the rest. A set of some thousand vectors pays for a model of its
own and stands alone; small sets, or many sets of one encoder, share a model made by `obverse train features`.

The encoder itself is not in the file, but its fingerprint is: features of another encoder are refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_safetensors

from obverse.codecs.features import METHOD
from obverse.codecs.features.clusters import FeatureModel, model_from
from obverse.codecs.features.fit import DEFAULT_LOSS, Target, fit, sample_of
from obverse.codecs.features.items import (
    ENCODER,
    ENCODER_NAME,
    FINGERPRINT,
    KIND,
    OWN_MODEL,
    PER_ITEM,
    PROTOTYPES,
    TYPES,
    Layout,
    Prototypes,
    check_encoder,
    model_memory,
    read_chunk,
    unpack_arrays,
    unpack_model,
)  # fmt: skip
from obverse.codecs.features.options import FeatureOptions
from obverse.codecs.features.writer import Encoded, Writer
from obverse.codecs.model_codec import OptionalModelCodec, from_model
from obverse.codecs.stored_segments import MODEL, check_methods, method_of
from obverse.container import Container, Limits
from obverse.container.recover import recover_items
from obverse.container.source import SourceLike
from obverse.container.spool import ItemSpool
from obverse.data.feature_files import FeatureArray, FeatureRows, naming, survey
from obverse.data.features import check_features
from obverse.errors import DamagedError, DecodeError, InputError, ModelError, RateTargetError, WrongModelError
from obverse.method import Method
from obverse.zoo import find_model, stored_model

Array = npt.NDArray[Any]


class FeatureCodec(OptionalModelCodec):
    """Arrays (n, d) of float16, float32 or float64: one feature vector a row."""

    method: ClassVar[Method] = METHOD

    @from_model
    def arrays(self) -> dict[str, Array]:
        """Of the stored model; none where the file brings its own."""
        return load_safetensors(self.model.weights) if self.model else {}

    @from_model
    def bottleneck(self) -> FeatureModel | None:
        """Of the stored model; None where the file brings its own."""
        return model_from(self.arrays) if self.model else None

    @from_model
    def encoder(self) -> tuple[bytes | None, str]:
        """Fingerprint and name of the encoder that the stored model is for, where they are known."""
        text = self.model.config.get("encoder") if self.model else None
        name = str(self.model.config.get("encoder_name", "")) if self.model else ""
        try:
            return (bytes.fromhex(text) if text else None), name
        except (TypeError, ValueError) as error:
            raise InputError(f"its encoder is not a fingerprint ({error})") from None

    # -- the contract ----------------------------------------------------------------------------------------

    @property
    def settings(self) -> tuple[dict[str, float], ...]:
        """A stored model fixes how much is lost."""
        return super().settings if self.model is None else ({},)

    def encode(self, data: Any, options: FeatureOptions | None = None) -> Container:
        """(n, d) floats to a container.

        Without a stored model one is fitted to the data and put into the file (`fit.py`).
        Raises InputError, UnsupportedInputError, WrongModelError (another encoder's), RateTargetError, LimitError (a
        model that takes too much memory).
        """
        self._check_model()
        features = check_features(data, self.bottleneck.dimensions if self.bottleneck else None)
        with ItemSpool() as spool:
            container = self.encode_rows(FeatureArray(features), options, spool).container
            return replace(container, items=tuple(spool.items()))

    def _check_model(self) -> None:
        """What the stored model takes, before it is built. Raises LimitError."""
        if "bottleneck" not in vars(self):
            Limits().check_memory(model_memory(self.arrays))

    def encode_rows(self, rows: FeatureRows, options: FeatureOptions | None, spool: ItemSpool) -> Encoded:
        """Vectors that are read piece by piece, several times, to items, which the spool keeps.

        A container without its items, and what is lost. Raises as `encode`.
        """
        self._check_model()
        options = options or FeatureOptions()
        chunk, encoder, prototypes = int(options.chunk), options.encoder, options.prototypes
        own, dimensions = self.bottleneck is None, rows.shape[1]
        if self.bottleneck is not None:
            with naming(rows.name):
                check_features(np.zeros((1, dimensions), rows.dtype), self.bottleneck.dimensions)
        config: dict[Any, Any] = {
            KIND: [t.itemsize for t in TYPES].index(rows.dtype.itemsize),
            PER_ITEM: chunk,
            OWN_MODEL: own,
        }
        here, name = self.encoder
        check_encoder(here, name, encoder, "model")
        made_by = encoder if isinstance(encoder, bytes) else encoder.fingerprint if encoder else here
        if made_by is not None:
            if len(made_by) != FINGERPRINT:
                raise InputError(
                    f"an encoder's fingerprint is the {FINGERPRINT} bytes of a SHA-256, not {len(made_by)}"
                )
            config[ENCODER] = made_by
            config[ENCODER_NAME] = name if encoder is None or isinstance(encoder, bytes) else encoder.name
        front = []
        if prototypes is not None:
            config[PROTOTYPES] = True
            front.append(Prototypes.of(prototypes, dimensions).pack())
        container = Container(self.id, config, rows.shape, {}, self.fingerprint, options.kept)
        targets = (options.lmbda, options.bits, options.loss)
        how = {"distortion": options.distortion, "transform": options.transform}
        if not own and (options.standardise or any(value is not None for value in (*targets, *how.values()))):
            raise InputError(
                "the model fixes how much is kept: give lmbda, bits or loss when it is trained, or use no model"
            )
        seen = survey(rows, sample_of(rows.shape[0]) if own else slice(0, 0))
        writer = Writer(rows, seen.mean, container, front, spool)
        if self.bottleneck is not None:
            return writer.write(self.bottleneck)
        given: dict[str, Any] = {name: value for name, value in how.items() if value is not None}
        return self._fitted(writer, seen.sample, *targets, given | {"standardise": options.standardise})

    def rate_bits(self, data: Any, options: FeatureOptions | None = None) -> npt.NDArray[np.float64]:
        """(n,) bits that the model gives to each vector; of model and prototypes in the file, each has its share.

        Of vectors that are stored without the model, their bytes are counted.
        """
        options = options or FeatureOptions()
        features = check_features(data, self.bottleneck.dimensions if self.bottleneck else None)
        container = self.encode(features, options)
        items = container.items or ()
        layout = Layout.of(container.config, container.shape, container.model, len(items), container.version)
        model = self.model_of(layout, items[0] if layout.own_model else b"", Limits.unlimited())
        bits = np.full(len(features), 8.0 * sum(map(len, items[: layout.first])) / len(features))
        for number, payload in enumerate(items[layout.first :]):
            here = slice(number * layout.chunk, number * layout.chunk + layout.vectors_of(number))
            if model is None or method_of(payload, layout.stored > 0)[0] != MODEL:
                bits[here] += 8 * len(payload) / layout.vectors_of(number)
            elif model.tables is not None:
                bits[here] += model.rate_bits(model.quantise(features[here]))
        return bits

    def _fitted(
        self,
        writer: Writer,
        sample: Array,
        lmbda: float | None,
        bits: float | None,
        loss: float | None,
        how: dict[str, Any],
    ) -> Encoded:
        """With a model of its own; if bits are asked for, as many as the whole file may have."""
        count = writer.rows.shape[0]
        if lmbda is None and bits is None and loss is None:
            loss = DEFAULT_LOSS
        target = aim = Target(lmbda, bits, loss)
        weight = 0.0
        for _ in range(6):
            encoded = writer.write(fit(sample, aim, copies=count, **how))
            if target.bits is None:
                return encoded
            weight = 8 * writer.spool.file_bytes(encoded.container) / count
            if weight <= target.bits:
                return encoded
            aim = Target(bits=max((aim.bits or 0.0) - 1.02 * (weight - target.bits), 1e-3))
        raise RateTargetError(
            f"{target.bits} bits a vector cannot be reached with a model in the file, which then has {weight:.1f}: "
            "allow more, compress more vectors at once, or use a model of its own (obverse train features)"
        )

    def decode(self, container: Container, limits: Limits | None = None) -> Array:
        """x̂ (n, d) in the type that was encoded. Raises DamagedError, LimitError."""
        limits = Limits.of(limits)
        items = container.items or ()
        layout = Layout.of(
            container.config,
            container.shape,
            container.model,
            None if container.items is None else len(items),
            container.version,
        )
        check_methods(items[layout.first :], layout.stored)
        model = self.model_of(layout, items[0] if layout.own_model else b"", limits)
        features = np.empty((layout.count, layout.dimensions), layout.dtype)
        for number in range(len(items) - layout.first):
            here = slice(number * layout.chunk, number * layout.chunk + layout.vectors_of(number))
            features[here] = read_chunk(model, layout, number, items[layout.first + number]).rows()
        return features

    def model_of(
        self, layout: Layout, payload: bytes, limits: Limits, whole: bool = True
    ) -> FeatureModel | None:
        """The bottleneck that the vectors are decoded with, after checking what that takes; None where there is none.

        payload: item 0, where that is the model. whole: whether all vectors are decoded, else one chunk at a time.
        Raises DamagedError, LimitError.
        """
        if whole:
            limits.check_memory(layout.count * layout.dimensions * layout.dtype.itemsize)
        if layout.bare:
            limits.check_memory(
                min(layout.chunk, layout.count) * 4 * layout.dimensions * layout.dtype.itemsize
            )
            return None
        if layout.own_model:
            model: FeatureModel | None = unpack_model(unpack_arrays(payload, limits), limits)
        else:
            limits.check_memory(model_memory(self.arrays))
            model = self.bottleneck
        if model is None or model.dimensions != layout.dimensions:
            raise DamagedError("the model of the features is for vectors of another length")
        limits.check_memory(min(layout.chunk, layout.count) * (16 * model.width + 16 * layout.dimensions))
        return model

    def recover(self, source: SourceLike, limits: Limits | None = None) -> tuple[Array, list[str]]:
        """The vectors of all items that are whole, in order, and which are missing, and why.

        For files that were cut or damaged. Raises DecodeError where header, index or model are not whole, and
        WrongModelError for another model's file.
        """
        limits = Limits.of(limits)
        header, items, _ = recover_items(source, limits)
        if header.codec != self.id or header.model != self.fingerprint:
            raise WrongModelError(
                "the file was written by another codec or model: name the model that wrote it"
            )
        layout = Layout.of(header.config, header.shape, header.model, len(items), header.version)
        if layout.own_model and items[0] is None:
            raise DamagedError("the model in the file is damaged, and nothing can be read without it")
        model = self.model_of(layout, items[0] or b"", limits)
        parts, missing = [np.zeros((0, layout.dimensions), layout.dtype)], []
        for number, payload in enumerate(items[layout.first :]):
            first, count = number * layout.chunk, layout.vectors_of(number)
            try:
                if payload is None:
                    raise DamagedError("it is cut off or damaged")
                parts.append(read_chunk(model, layout, number, payload).rows())
            except DecodeError as error:
                missing.append(f"vectors {first} to {first + count - 1} are missing: {error}")
        return np.concatenate(parts), missing


def features_codec(model: str | Path | None = None, wanted: bytes | None = None) -> FeatureCodec:
    """The codec with a stored model, given by name or folder; or with the one that a file was written with.

    wanted: fingerprint of the model that must be used; None for files that bring their own, and for encoding.
    Raises ModelError for what is no model of features, WrongModelError where the one that is wanted is not there.
    """
    stored = None
    if model is not None:
        stored = stored_model(model)
        if stored.codec != FeatureCodec.method.id:
            raise ModelError(f"the model {model} is for codec {stored.codec!r}, not for features")
    elif wanted is not None:
        stored = find_model(FeatureCodec.method.id, wanted)
    codec = FeatureCodec(stored)
    if wanted is not None and codec.fingerprint != wanted:
        here = f"{model} is {codec.fingerprint.hex()}" if codec.fingerprint else "it is not installed"
        raise WrongModelError(
            f"the file was written with model {wanted.hex()}, {here}: name the model that wrote it (--model NAME, or "
            "its folder)"
        )
    return codec
