"""The command on feature vectors: compress-features."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from obverse.cli.console import UsageError, human, noted_warnings, out_bytes, progress_bar, say, to_json
from obverse.cli.console import out as show
from obverse.cli.options import Force, Json, Metadata, Trust, pairs, wrong_use
from obverse.cli.plan import STDIN
from obverse.errors import InputError, OutputError, OutputExistsError

rates = Group("How much is kept (one of)", sort_key=1)
encoders = Group("Encoder", sort_key=2)

Loss = Annotated[
    float | None,
    Parameter(group=rates, help="Part of the features' variance that may be lost, 0 to 1; 0.01 by default."),
]
Bits = Annotated[
    float | None, Parameter(group=rates, help="Bits a vector, of the whole file, met from below.")
]
Lmbda = Annotated[
    float | None, Parameter(group=rates, help="Minimise distortion + lmbda * bits, in the features' units.")
]
Distortion = Annotated[
    str | None, Parameter(help="l2: squared, with a rotation that decorrelates; l1: absolute, without.")
]
Standardise = Annotated[
    bool,
    Parameter(negative="", help="Weigh each feature by its own variance: for probes that standardise them."),
]
Key = Annotated[str | None, Parameter(help="Which tensor or column, of a file that holds several.")]
EncoderPath = Annotated[
    str | None,
    Parameter(
        group=encoders,
        help="Make features of images with it: TorchScript (.pt), torch.export (.pt2), .onnx, a Hugging Face folder, "
        "or module:function. With a file of features: whose they are.",
    ),
]
Size = Annotated[int | None, Parameter(group=encoders, help="Resize images to this height and width.")]
Mean = Annotated[
    list[float] | None, Parameter(group=encoders, negative="", help="Of each channel, 0 to 1; repeat for 3.")
]
Std = Annotated[list[float] | None, Parameter(group=encoders, negative="", help="Of each channel, 0 to 1.")]
Batch = Annotated[int, Parameter(group=encoders, help="Images that the encoder sees at once.")]


def compress_features(
    sources: Annotated[
        list[Path],
        Parameter(
            help="Features (.npy, .npz, .safetensors, .parquet, folders of them; - for standard input), or images, "
            "where there is an --encoder. Several are one set, in this order."
        ),
    ],
    /,
    *,
    output: Annotated[
        str | None,
        Parameter(
            name=["--output", "-o"],
            help="The one file that is written, also of several; of one also a folder to put it into; or -. Beside the "
            "features by default, under their name.",
        ),
    ] = None,
    loss: Loss = None,
    bits: Bits = None,
    lmbda: Lmbda = None,
    distortion: Distortion = None,
    standardise: Standardise = False,
    model: Annotated[
        str | None, Parameter(help="Name or folder of a model; without, one is fitted and kept in the file.")
    ] = None,
    encoder: EncoderPath = None,
    trust: Trust = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    batch: Batch = 64,
    prototypes: Annotated[
        Path | None,
        Parameter(
            help="Vectors of classes for zero-shot labels: safetensors, one each, or .npy with --classes."
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        Parameter(help="Text file with a class name a line; a CLIP --encoder makes prototypes of them."),
    ] = None,
    template: Annotated[
        str, Parameter(help="What a CLIP encoder reads of a class name.")
    ] = "a photo of a {}.",
    chunk: Annotated[int, Parameter(help="Vectors that are decoded together.")] = 256,
    key: Key = None,
    metadata: Metadata = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Compress feature vectors of any frozen encoder, so that predictions from them stay what they were.

    For example:

    - `obverse compress-features embeddings.npy` writes embeddings.obv, with a model of its own in it
    - `obverse compress-features embeddings.npy --bits 800 -o small.obv`
    - `obverse compress-features shards/ -o all.obv`, or `part-*.npy -o all.obv`
    - `obverse compress-features photos/ --encoder clip-vit-base-patch32/ --classes names.txt`
    - `obverse compress-features today.npy --model models/clip`
    - then `obverse decompress embeddings.obv` writes embeddings.npy
    """
    from obverse.codecs.features.codec import features_codec
    from obverse.codecs.features.sources import open_encoder, rows_of
    from obverse.container import write_atomically
    from obverse.container.files import check_file
    from obverse.container.spool import ItemSpool

    if sum(value is not None for value in (loss, bits, lmbda)) > 1:
        raise UsageError("give one of --loss, --bits and --lmbda")
    if batch < 1:
        raise UsageError(f"--batch must be at least 1, not {batch}")
    if sources.count(STDIN) > 1:
        raise UsageError("standard input can be read once only: give one -")
    if output is None and (len(sources) > 1 or sources[0] == STDIN):
        what = (
            "standard input has no name: it needs"
            if sources[0] == STDIN
            else "several files become one: they need"
        )
        raise UsageError(f"{what} an --output, a file, or - for standard output")
    target = _target(sources, output)
    to_stdout = target == STDIN
    if not to_stdout:
        _check_target(sources, target)
        if os.path.lexists(target) and not force:
            raise OutputExistsError(f"{target} exists; use --force to overwrite it")
        check_file(target, force)
    started = time.perf_counter()
    codec = features_codec(model)
    if encoder is None and (size, mean, std) != (None, None, None):
        raise UsageError("--size, --mean and --std are for images: give --encoder")
    frozen = open_encoder(encoder, size, mean, std, trust)
    vectors = _prototypes(prototypes, classes, encoder, template)
    with wrong_use(("loss", "bits", "lmbda", "distortion", "chunk")):
        options = codec.options(
            loss=loss, bits=bits, lmbda=lmbda, distortion=distortion, standardise=standardise, chunk=chunk,
            encoder=frozen, prototypes=vectors, metadata=pairs(metadata),
        )  # fmt: skip
    folder = None if to_stdout or not target.parent.is_dir() else str(target.parent)
    with (
        noted_warnings() as told,
        rows_of(sources, key, frozen, batch, progress_bar) as (rows, before),
        ItemSpool(folder) as spool,
    ):
        encoded = codec.encode_rows(rows, options, spool)
        container, after = encoded.container, spool.file_bytes(encoded.container)
        parts = spool.parts(container)
        if to_stdout:
            for part in parts:
                out_bytes(part)
        else:
            write_atomically(target, parts, overwrite=force)
    count, dimensions = rows.shape
    name = str(sources[0]) if len(sources) == 1 else f"{sources[0]} and {len(sources) - 1} more"
    row: dict[str, Any] = {
        "input": name if len(sources) == 1 else [str(path) for path in sources], "output": str(target),
        "bytes_in": before, "bytes_out": after, "vectors": count, "dimensions": dimensions,
        "bits_per_vector": 8 * after / count, "variance_lost": encoded.lost,
        "model": container.model.hex() if container.model else "in the file" if container.config[2] else None,
        "encoder": frozen.fingerprint.hex() if frozen and frozen.fingerprint else None,
        "seconds": round(time.perf_counter() - started, 3), "warnings": told,
    }  # fmt: skip
    text = (
        f"{name} -> {target}: {human(before)} -> {human(after)}, {count} vectors of {dimensions}, "
        f"{row['bits_per_vector']:.1f} bits a vector, {encoded.lost:.2%} of the variance lost"
    )
    (say if to_stdout else show)(to_json(row) if json else text)
    return 0


def _check_target(sources: list[Path], target: Path) -> None:
    """Check what is written to, links followed.

    Raises:
        OutputError: it is among the files that are read.
        UsageError: its name is that of another kind of file.
    """
    from obverse.cli.output_names import check_obv_name

    place = os.path.realpath(target)
    for source in sources:
        read = os.path.realpath(source)
        if place == read or (os.path.isdir(read) and os.path.dirname(place) == read and _is_read(place)):
            raise OutputError(f"{source}: {target} is an input and would be overwritten: name another output")
    check_obv_name(str(target), None)


def _is_read(path: str) -> bool:
    """Whether an existing file of a folder is among what is read of it."""
    return os.path.exists(path) and os.path.splitext(path)[1].lower() != ".obv"


def _target(sources: list[Path], output: str | None) -> Path:
    """The file that is written, or - for standard output."""
    if output is None:
        return sources[0].parent / _obv_name(sources[0])
    target = Path(output)
    if target != STDIN and (output.endswith("/") or target.is_dir()):
        if len(sources) > 1:
            raise UsageError(f"{output} is a folder: name the file that the set is written to")
        return target / _obv_name(sources[0])
    return target


def _obv_name(path: Path) -> str:
    return (path.resolve().name if path.is_dir() else path.stem) + ".obv"


def _prototypes(
    path: Path | None, classes: Path | None, encoder: str | None, template: str
) -> dict[str, Any] | None:
    """A vector for each class name."""
    from obverse.data.features import read_features, read_named
    from obverse.data.labelled import read_class_names

    names = read_class_names(classes) if classes is not None else None
    if path is None:
        if names is None:
            return None
        if encoder is None or not Path(encoder).is_dir():
            raise UsageError("--classes needs --prototypes, or a CLIP folder as --encoder that makes them")
        from obverse.integrations.hugging_face import clip_prototypes

        return dict(clip_prototypes(encoder, names, template))
    if path.suffix.lower() == ".safetensors":
        found = read_named(path)
        if names is None:
            return found
        missing = [name for name in names if name not in found]
        if missing:
            raise InputError(f"{path} holds no vector for {missing[0]!r}")
        return {name: found[name] for name in names}
    vectors = read_features(path)
    if names is None:
        raise UsageError("prototypes in a .npy file have no names: give --classes")
    if vectors.ndim != 2 or len(vectors) != len(names):
        raise InputError(f"{path} has shape {vectors.shape}, but there are {len(names)} class names")
    return dict(zip(names, vectors, strict=True))
