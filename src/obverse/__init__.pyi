# Written by scripts/make_stub.py from the declarations of the codecs; do not edit.
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from obverse.codec import Codec as Codec
from obverse.codec import decompress as decompress
from obverse.codec import open_parts as open
from obverse.container import Container as Container
from obverse.container import Limits as Limits
from obverse.errors import ObverseError as ObverseError
from obverse.fields import Options as Options
from obverse.method import Method as Method
from obverse.registry import list_codecs as list_codecs
from obverse.registry import open_codec as open_codec
from obverse.threads import one_thread_after_fork as one_thread_after_fork

__version__: str
__all__ = [
    "Codec",
    "Container",
    "Limits",
    "Method",
    "ObverseError",
    "Options",
    "__version__",
    "compress",
    "decompress",
    "list_codecs",
    "open",
    "open_codec",
]

_Verify: TypeAlias = bool | Literal["quick", "certain"] | None
_BuiltIn: TypeAlias = Literal[
    "features",
    "flow",
    "flow-cifar",
    "image",
    "image-lossless",
    "invariant",
    "invariant-mnist",
    "plug-and-play",
    "split",
    "split-cifar",
    "stereo",
    "vae",
    "vae-mnist",
    "vae-mnist-binary",
    "vae-fashion",
    "weights",
    "wyner-ziv",
    "wyner-ziv-grid",
    "wyner-ziv-trellis",
]

class NoSuchOption:
    """What `compress` returns, for type checkers, where a built-in codec does not have the options given: no bytes."""

@overload
def compress(
    data: Any,
    codec: Literal["features"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
    lmbda: float | None = ...,
    bits: float | None = ...,
    loss: float | None = ...,
    distortion: Literal["l2", "l1"] | None = ...,
    transform: Literal["auto", "klt", "identity"] | None = ...,
    standardise: bool = ...,
    chunk: int = ...,
    encoder: Any = ...,
    prototypes: Any = ...,
) -> bytes:
    """Feature vectors of a frozen encoder, lossy.

    Args:
        metadata: KEY=TEXT to store in the file.
        lmbda: What a bit may cost in distortion.
        bits: Bits a vector of the whole file, met from below.
        loss: Part of the variance that may be lost; by default .01.
        distortion: What loss is measured by, l2 (default) or l1.
        transform: Before quantisation; by default auto, which chooses.
        standardise: Count distortion in units of each feature's deviation.
        chunk: Vectors that are read together.
        encoder: Whose features these are.
        prototypes: A vector for each class.
    """

@overload
def compress(
    data: Any,
    codec: Literal["flow", "flow-cifar"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
    segment: int = ...,
    model_only: bool = ...,
) -> bytes:
    """Sets of 32x32 colour images, lossless, an integer flow.

    Args:
        metadata: KEY=TEXT to store in the file.
        segment: Images of a message: fewer lose less when a file is damaged, and cost a few bytes more for each.
        model_only: Code every segment with the model, also where it does not fit.
    """

@overload
def compress(
    data: Any,
    codec: Literal["image"] = "image",
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
    limits: Limits | None = ...,
    quality: float | None = ...,
    bpp: float | None = ...,
    max_bytes: int | None = ...,
    effort: int = ...,
    progress: Any = ...,
    tune: Literal["psnr", "ssim", "eye"] | None = ...,
    roi: Any = ...,
    roi_background: float | None = ...,
    alpha_error: int = ...,
    max_error: int | None = ...,
) -> bytes:
    """Photos, lossy, any rate from one learned model.

    Args:
        metadata: KEY=TEXT to store in the file.
        limits: What may be coded.
        quality: 1 to 100, in steps of .05, default 50.
        bpp: Bits per pixel of the whole file, met from below.
        max_bytes: Size of the file, met from below: 40000, 40k, 1.5M.
        effort: 0 to 9: search for a better file of the same format; 3 takes seconds a photo, 9 minutes. Default 0.
        progress: Called as a search goes on.
        tune: What the model was trained for: psnr (the default); ssim or eye where such tunes are installed.
        roi: Image file of the same size, bright where the quality is meant; the rest is coded at --roi-background.
        roi_background: Quality outside --roi, 1 to 100, default 40 less than inside, 1 at least.
        alpha_error: By how much decoded alpha may differ, 0 to 127; transparent and opaque stay so. Default 0.
        max_error: By how much a decoded sample may differ from the image, in grey levels; 0: not at all.
    """

@overload
def compress(
    data: Any,
    codec: Literal["image-lossless"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
    limits: Limits | None = ...,
    max_error: int = ...,
) -> bytes:
    """Any image of 8 or 16 bits a channel, lossless.

    Args:
        metadata: KEY=TEXT to store in the file.
        limits: What may be coded.
        max_error: By how much a decoded sample may differ, of 256 levels (65,536 in 16 bits). Default 0: not at all.
    """

@overload
def compress(
    data: Any,
    codec: Literal["invariant", "invariant-mnist"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
) -> bytes:
    """Sets of points or small gray images, what tasks need and no more.

    Args:
        metadata: KEY=TEXT to store in the file.
    """

@overload
def compress(
    data: Any,
    codec: Literal["plug-and-play"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
    lmbda: float = ...,
    method: Literal["vbq", "steps", "uniform", "scaled-uniform", "k-means"] | None = ...,
    prior: Literal["empirical", "normal"] | None = ...,
    depth: int | None = ...,
    axis: int | None = ...,
) -> bytes:
    """What a generative model of yours encodes, or posteriors, lossy, any rate.

    Args:
        metadata: KEY=TEXT to store in the file.
        lmbda: What a bit may cost, in units of (z - mean)^2 / (2 std^2); default 1.
        method: Without a stored model: how latents are quantised, by default vbq or steps, whichever costs less.
        prior: Without a stored model: what places vbq's points; by default the better.
        depth: Without a stored model: levels of vbq's grid.
        axis: Without a stored model: the axis whose places have tables of their own.
    """

@overload
def compress(
    data: Any,
    codec: Literal["split", "split-cifar"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
) -> bytes:
    """Small colour images to what a classifier needs, for split computing.

    Args:
        metadata: KEY=TEXT to store in the file.
    """

@overload
def compress(
    data: Any,
    codec: Literal["stereo"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
    limits: Limits | None = ...,
    quality: float | None = ...,
    bpp: float | None = ...,
    max_bytes: int | None = ...,
    effort: int = ...,
    progress: Any = ...,
) -> bytes:
    """The right view of a pair, lossy, decoded with the left view.

    Args:
        metadata: KEY=TEXT to store in the file.
        limits: What may be coded.
        quality: 1 to 100, in steps of .05, default 50.
        bpp: Bits per pixel of the whole file, met from below.
        max_bytes: Size of the file, met from below: 40000, 40k, 1.5M.
        effort: 0 to 9: search for a better file of the same format; 3 takes seconds a photo, 9 minutes. Default 0.
        progress: Called as a search goes on.
    """

@overload
def compress(
    data: Any,
    codec: Literal["vae", "vae-mnist", "vae-mnist-binary", "vae-fashion"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
    seed: int = ...,
    segment: int = ...,
    initial: int | None = ...,
    model_only: bool = ...,
) -> bytes:
    """Sets of small images, lossless, bits back from a latent variable.

    Args:
        metadata: KEY=TEXT to store in the file.
        seed: Of the initial bits.
        segment: Images of a chain: fewer lose less when a file is damaged, and cost more initial bits.
        initial: Symbols of 10 initial bits that a chain has; by default as few as suffice.
        model_only: Code every segment with the model, also where it does not fit.
    """

@overload
def compress(
    data: Any,
    codec: Literal["weights"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
    limits: Limits | None = ...,
    effort: int = ...,
    base: Any = ...,
) -> bytes:
    """Weights of neural networks, lossless, each tensor to be read by itself.

    Args:
        metadata: KEY=TEXT to store in the file.
        limits: What may be coded.
        effort: 0 to 9: from 1 on scales of rows and columns and repeats are used, from 7 on all is tried. Default 3.
        base: Weights that the receiver has, as the model before fine-tuning: a file, also .obv; needed to decompress.
    """

@overload
def compress(
    data: Any,
    codec: Literal["wyner-ziv"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
) -> bytes:
    """Numbers or vectors with side information at the decoder, one learned index each.

    Args:
        metadata: KEY=TEXT to store in the file.
    """

@overload
def compress(
    data: Any,
    codec: Literal["wyner-ziv-grid"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
) -> bytes:
    """Numbers with side information at the decoder, the best scalar design without networks.

    Args:
        metadata: KEY=TEXT to store in the file.
    """

@overload
def compress(
    data: Any,
    codec: Literal["wyner-ziv-trellis"],
    *,
    verify: _Verify = ...,
    metadata: Mapping[str, Any] | None = ...,
) -> bytes:
    """Numbers with side information at the decoder, near the Wyner-Ziv limit.

    Args:
        metadata: KEY=TEXT to store in the file.
    """

@overload  # a built-in codec, but not its options
def compress(data: Any, codec: _BuiltIn, *, verify: _Verify = ..., **options: Any) -> NoSuchOption: ...
@overload  # codecs of other packages, and trained models by name or folder
def compress(data: Any, codec: str | Path, *, verify: _Verify = ..., **options: Any) -> bytes: ...
