"""The kinds of data: for each, how a file becomes what `encode` takes, and how what `decode` gives becomes a file.

    file or folder ──► KINDS["image set"].load ──► array ──► encode ──► decode ──► array ──► .save ──► bytes of a file

A method declares its kind by name (`obverse.method.Method.data`). What reads files is imported at use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError, OutputError, UnsupportedInputError

Source = Path | BinaryIO


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of data, as files know it.

    Attributes:
        load: (source, what="data") -> what `encode` takes of a file; `what` is a word for it in errors, which are
            InputErrors.
        save: (decoded, target) -> bytes of a file of what `decode` gives; `target` is its name; errors are
            OutputErrors.
        read: suffixes of the files that are taken from folders.
        written: suffixes of the files that are written; None for all that Pillow writes.
        how: the same in words.
        folder: whether a folder of files is one piece of data, a set; else each file is one.
        vectors: whether it is vectors, one a row.
    """

    load: Callable[..., Any]
    save: Callable[[Any, str], bytes]
    read: frozenset[str]
    written: frozenset[str] | None
    how: str = ""
    folder: bool = False
    vectors: bool = False

    def check(self, target: str) -> None:
        """Check the name of a file.

        Raises:
            OutputError: for the name of a file that this kind of data is not written to, or that says no kind.
        """
        suffix = Path(target).suffix.lower()
        if self.written is not None:
            if suffix not in self.written:
                raise OutputError(f"{target}: {self.how}; name it so")
        elif not suffix:
            raise OutputError(
                f"{target}: a name without suffix does not say what kind of file it is: name it {target}.png, or "
                f"{target}/ for a folder"
            )
        elif suffix != ".npy":
            from obverse.data.image_formats import format_of

            format_of(target)


def _no_image(load: Callable[..., Any]) -> Callable[..., Any]:
    """Says of an image file, which is not read as these data, what codes it."""

    def loaded(source: Source, what: str = "data") -> Any:
        try:
            return load(source, what)
        except InputError as error:
            from obverse.data.source import name_of

            if Path(name_of(source)).suffix.lower() not in IMAGE_SUFFIXES:
                raise
            raise type(error)(
                f"{error}; an image file is coded by the codecs image and image-lossless, and vectors are made of it "
                "by obverse compress-features --encoder"
            ) from None

    return loaded


# -- images ------------------------------------------------------------------------------------------------------


def _load_image(source: Source, what: str = "data") -> Any:
    from obverse.data.images import read_photo

    return read_photo(source)


def _load_exact_image(source: Source, what: str = "data") -> Any:
    from obverse.data.images import read_photo

    return read_photo(source, exact=True)


def _save_image(image: Any, target: str) -> bytes:
    from obverse.data.image_writing import write_photo
    from obverse.data.images import photo_of

    return write_photo(photo_of(image), target)


def _save_exact_image(image: Any, target: str) -> bytes:
    from obverse.data.image_writing import write_photo
    from obverse.data.images import photo_of

    return write_photo(photo_of(image, exact=True), target, exact=True)


# -- sets of images ----------------------------------------------------------------------------------------------


def _load_image_set(source: Source, what: str = "data") -> Any:
    from obverse.data.image_sets import read_image_set

    return read_image_set(source)


def _load_colour_images(source: Source, what: str = "data") -> Any:
    """A set as of any images, or one image file, (H, W, 3)."""
    import numpy as np

    from obverse.data.arrays import NPY
    from obverse.data.image_sets import GZIP, IDX_UINT8, read_image_set
    from obverse.data.images import read_photo
    from obverse.data.source import Contents, name_of, read_bytes

    if isinstance(source, Path) and source.is_dir():
        return read_image_set(source)
    name, raw = name_of(source), read_bytes(source)
    if raw.startswith((NPY, GZIP, IDX_UINT8)):
        return read_image_set(Contents(raw, name))
    photo = read_photo(Contents(raw, name))
    if photo.alpha is not None or photo.pixels.dtype != np.uint8:
        raise UnsupportedInputError("RGB images of 8 bits without alpha are coded: convert it first")
    pixels = photo.pixels
    return np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels


def _save_image_set(decoded: Any, target: str) -> bytes:
    """Images as .zip of PNG files, whatever it is as .npy."""
    from obverse.data.image_sets import check_image_set, png_archive

    if Path(target).suffix.lower() == ".zip":
        return png_archive(check_image_set(decoded, target))
    return _save_array(decoded, target)


def _save_colour_images(decoded: Any, target: str) -> bytes:
    """Scores of classes as .csv, images, or one, as .zip of PNG files, whatever it is as .npy."""
    suffix = Path(target).suffix.lower()
    if suffix == ".csv":
        return _scores_csv(decoded)
    return _save_image_set(decoded[None] if suffix == ".zip" and decoded.ndim == 3 else decoded, target)


def _scores_csv(logits: Any) -> bytes:
    """A line an image: its number, its class, and the probability of each class. logits: (n, classes)."""
    import numpy as np

    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    shares = powers / powers.sum(1, keepdims=True)
    lines = ["image,class," + ",".join(f"p{i}" for i in range(logits.shape[1]))]
    for number, row in enumerate(shares):
        lines.append(f"{number},{int(row.argmax())}," + ",".join(f"{p:.6f}" for p in row))
    return ("\n".join(lines) + "\n").encode()


# -- arrays of numbers -------------------------------------------------------------------------------------------


def _load_array(source: Source, what: str = "data") -> Any:
    from obverse.data.arrays import read_array

    return read_array(source, what)


def _load_points(source: Source, what: str = "data") -> Any:
    if isinstance(source, Path) and source.is_dir():
        raise InputError(f"{source} is a folder: this model codes points, in one .npy array (n, d)")
    return _load_array(source, what)


def _save_array(array: Any, target: str) -> bytes:
    from obverse.data.arrays import npy_bytes

    return npy_bytes(array)


def _load_features(source: Source, what: str = "data") -> Any:
    from obverse.data.features import read_features

    return read_features(source)


def _save_features(features: Any, target: str) -> bytes:
    from obverse.data.features import feature_bytes

    return feature_bytes(features, target)


# -- posteriors, and what a model makes posteriors of ------------------------------------------------------------


def _load_posterior(source: Source, what: str = "data") -> Any:
    from obverse.data.posteriors import read_posterior

    return read_posterior(source)


def _posterior_or(load: Callable[..., Any]) -> Callable[..., Any]:
    """Reads a posterior where the file is one, else what `load` reads."""

    def either(source: Source, what: str = "data") -> Any:
        from obverse.data.posteriors import is_posterior_file
        from obverse.data.source import Contents, name_of, read_bytes

        if isinstance(source, Path) and source.is_dir():
            return load(source, what)
        contents = Contents(read_bytes(source), name_of(source))
        return (_load_posterior if is_posterior_file(contents.getvalue()) else load)(contents, what)

    return either


def _save_image_or_array(decoded: Any, target: str) -> bytes:
    """An image (H, W), (H, W, 3) uint8 as any image file, other arrays as .npy."""
    from obverse.data.arrays import check_npy_name

    if decoded.dtype == "uint8":
        return _save_image(decoded, target)
    check_npy_name(target)
    return _save_array(decoded, target)


_NPY = frozenset({".npy"})
_ARRAYS = "arrays are written as .npy files only"

KINDS = {
    "image": Kind(load=_load_image, save=_save_image, read=IMAGE_SUFFIXES, written=None),
    "exact image": Kind(load=_load_exact_image, save=_save_exact_image, read=IMAGE_SUFFIXES, written=None),
    "image set": Kind(
        load=_no_image(_load_image_set),
        save=_save_image_set,
        read=_NPY,
        written=frozenset({".npy", ".zip"}),
        how="a set of images is written as .npy, or as .zip of PNG files",
        folder=True,
    ),
    "colour images": Kind(
        load=_load_colour_images,
        save=_save_colour_images,
        read=_NPY | IMAGE_SUFFIXES,
        written=frozenset({".csv", ".npy", ".zip"}),
        how="predictions are written as .csv, codes as .npy, reconstructed images as .zip of PNG files",
        folder=True,
    ),
    "points": Kind(
        load=_no_image(_load_points),
        save=_save_array,
        read=_NPY,
        written=_NPY,
        how="decoded codes are written as .npy only",
        folder=True,
    ),
    "features": Kind(
        load=_no_image(_load_features),
        save=_save_features,
        read=frozenset({".npy", ".safetensors", ".parquet"}),
        written=frozenset({".npy", ".safetensors"}),
        how="features are written as .npy or .safetensors",
        vectors=True,
    ),
    "array": Kind(load=_no_image(_load_array), save=_save_array, read=_NPY, written=_NPY, how=_ARRAYS),
    "posterior": Kind(
        load=_no_image(_load_posterior), save=_save_array, read=frozenset({".npz"}), written=_NPY, how=_ARRAYS
    ),
    "posterior or image": Kind(
        load=_posterior_or(_load_image),
        save=_save_image_or_array,
        read=IMAGE_SUFFIXES | {".npz"},
        written=None,
    ),
    "posterior or array": Kind(
        load=_no_image(_posterior_or(_load_array)),
        save=_save_array,
        read=frozenset({".npy", ".npz"}),
        written=_NPY,
        how=_ARRAYS,
    ),
}
