"""Training material of the stereo codec: pairs whose right view is decoded by the image codec, and crops of them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from obverse.codecs.stereo.pairs import PairFiles, other_camera, read_pair, synthetic_pair
from obverse.data.guard import unreadable
from obverse.data.patches import open_rgb
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError

Bytes = npt.NDArray[np.uint8]
Decode = Callable[[Bytes, float], Bytes]
"""(right view, quality 1 to 100) -> what the image codec makes of it, of the same shape."""

LARGEST = 160  # pixels: the greatest disparity of a synthetic pair
SYNTHETIC_HEIGHT = 256  # pixels, at most


@dataclass(frozen=True)
class Scene:
    """right, left: (H, W) or (H, W, 3) uint8; decoded: quality -> the right view as decoded. synthetic: made of
    a photo."""

    right: Bytes
    left: Bytes
    decoded: dict[float, Bytes]
    synthetic: bool


def photo_files(folders: Sequence[Path]) -> list[Path]:
    """The images under the folders that are not views of a pair; one under two of them counts once."""
    found = {
        path.absolute(): path
        for folder in folders
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.stem.endswith(("_left", "_right"))
    }
    return [*found.values()]


def real_scenes(pairs: Sequence[PairFiles], qualities: Sequence[float], decode: Decode) -> list[Scene]:
    """Each pair, and each pair in the mirror: there the left view, mirrored, is the right one."""
    scenes = []
    for files in pairs:
        left, right = read_pair(files)
        for x, y in ((right, left), (left[:, ::-1].copy(), right[:, ::-1].copy())):
            scenes.append(Scene(x, y, {q: decode(x, q) for q in qualities}, synthetic=False))
    return scenes


def synthetic_scenes(
    photos: Sequence[Path], count: int, qualities: Sequence[float], decode: Decode, rng: np.random.Generator
) -> list[Scene]:
    """`count` pairs made of photos, a third of them gray, each decoded at two of the qualities.

    Raises InputError for a photo that cannot be read. Photos too small for a pair are passed over.
    """
    scenes: list[Scene] = []
    for which in rng.permutation(np.resize(np.arange(len(photos)), 2 * count)):
        if len(scenes) == count:
            break
        photo = np.array(open_rgb(photos[which]))
        if photo.shape[0] > photo.shape[1]:
            photo = np.rot90(photo).copy()
        if rng.random() < 0.5:
            photo = photo[:, ::-1].copy()
        height = min(SYNTHETIC_HEIGHT, photo.shape[0])
        width = photo.shape[1] - LARGEST
        if height < 64 or width < 64:
            continue
        left, right, _ = synthetic_pair(photo, height, width, LARGEST, rng)
        if rng.random() < 1 / 3:
            left, right = (np.array(Image.fromarray(view).convert("L")) for view in (left, right))
        chosen = rng.choice(np.array(qualities), size=min(2, len(qualities)), replace=False)
        scenes.append(Scene(right, left, {float(q): decode(right, float(q)) for q in chosen}, synthetic=True))
    return scenes


def key_of(files: Sequence[Path], *settings: object) -> str:
    """Of what scenes are made of: names, sizes and times of the files, and what else decides them.

    Raises InputError for a file that is not there.
    """
    digest = hashlib.sha256(repr(settings).encode())
    for path in files:
        try:
            found = path.stat()
        except OSError as error:
            raise InputError(unreadable(path, error)) from error
        digest.update(repr((str(path.resolve()), found.st_size, found.st_mtime_ns)).encode())
    return digest.hexdigest()


def save_scenes(scenes: Sequence[Scene], path: Path, key: str = "") -> None:
    """Keep them, so that a resumed run has the same: one .npz file. key: see `key_of`."""
    arrays: dict[str, Bytes] = {}
    index = []
    for i, scene in enumerate(scenes):
        index.append({"synthetic": scene.synthetic, "qualities": list(scene.decoded)})
        arrays[f"{i}.right"], arrays[f"{i}.left"] = scene.right, scene.left
        for k, decoded in enumerate(scene.decoded.values()):
            arrays[f"{i}.{k}"] = decoded
    arrays["key"] = np.frombuffer(key.encode(), np.uint8)
    arrays["index"] = np.frombuffer(json.dumps(index).encode(), np.uint8)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)
    temporary.replace(path)


def load_scenes(path: Path, key: str = "") -> list[Scene] | None:
    """The inverse of `save_scenes`; None for scenes of another key. Raises InputError for a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "key" not in arrays or arrays["key"].tobytes() != key.encode():
                return None
            return [
                Scene(
                    arrays[f"{i}.right"],
                    arrays[f"{i}.left"],
                    {q: arrays[f"{i}.{k}"] for k, q in enumerate(entry["qualities"])},
                    entry["synthetic"],
                )
                for i, entry in enumerate(json.loads(arrays["index"].tobytes()))
            ]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged ({error}); delete it, it will be made again") from error


@dataclass(frozen=True)
class Crops:
    """x, right: (B, height, width, 3) decoded and original; left: (B, height, width', 3), width' >= width, the
    same columns and `margin` more where the batch has a margin; quality: (B,), 1 to 100. Arrays are uint8."""

    x: Bytes
    right: Bytes
    left: Bytes
    quality: npt.NDArray[np.float32]


class CropSampler:
    """Draws crops of scenes at the same place of both views.

    In most batches the left crop goes on for `margin` columns to the right, as the left view does in the
    middle of an image; in the others it ends with the right one, as at the image's edge. One sample in
    twenty gets the left view of another scene, so that the network learns not to trust what does not match.
    """

    def __init__(self, scenes: Sequence[Scene], height: int, width: int, margin: int, seed: int):
        self.height, self.width, self.margin = height, width, margin
        self.rng = np.random.default_rng(seed)
        size = (height, width)
        usable = [s for s in scenes if s.right.shape[0] >= size[0] and s.right.shape[1] >= size[1]]
        wide = [s for s in usable if s.right.shape[1] >= width + margin]
        # groups[margin?][synthetic?]
        self.groups = [
            [[s for s in part if s.synthetic == synthetic] for synthetic in (False, True)]
            for part in (usable, wide)
        ]
        if not usable:
            raise InputError(f"no pair of at least {height}x{width} pixels to train on")

    def batch(self, size: int, synthetic_share: float) -> Crops:
        """A batch whose scenes are synthetic with this probability, where there are any."""
        rng = self.rng
        group = self.groups[int(rng.random() < 0.65 and any(self.groups[1]))]
        wider = self.margin if group is self.groups[1] else 0
        x, right, left, quality = [], [], [], []
        for _ in range(size):
            scenes = group[int(rng.random() < synthetic_share)] or group[0] or group[1]
            scene = scenes[rng.integers(len(scenes))]
            top = rng.integers(scene.right.shape[0] - self.height + 1)
            start = rng.integers(scene.right.shape[1] - self.width - wider + 1)
            q = list(scene.decoded)[rng.integers(len(scene.decoded))]
            rows = slice(top, top + self.height)
            for out, view, width in (
                (x, scene.decoded[q], self.width),
                (right, scene.right, self.width),
                (left, scene.left, self.width + wider),
            ):
                crop = view[rows, start : start + width]
                out.append(np.repeat(crop[:, :, None], 3, 2) if crop.ndim == 2 else crop)
            if not scene.synthetic and rng.random() < 0.2:
                left[-1] = other_camera(left[-1], rng)
            quality.append(q)
        if size > 1 and rng.random() < 0.05 * size:
            i = rng.integers(size)
            left[i] = left[i - 1][:, ::-1]
        return Crops(np.stack(x), np.stack(right), np.stack(left), np.array(quality, np.float32))
