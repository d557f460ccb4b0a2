"""Classifiers on disk: what a task sees of images or of feature vectors, as a score for each class.

    images ──► FrozenEncoder of the file or folder ──► scores (n, classes)
    vectors (n, d) ──► the same model, as they are ──► scores (n, classes)

Any model that `load_encoder` reads will do if its outputs are class scores (logits or probabilities). A Hugging Face
folder must hold an image classifier; or a model of the CLIP family, which needs the class names and compares with their
text embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.data.arrays import as_array
from obverse.errors import InputError
from obverse.integrations.encoders import load_encoder
from obverse.integrations.frozen_encoder import FrozenEncoder, explained, file_fingerprint
from obverse.integrations.hugging_face import WEIGHTS, clip_prototypes, pretrained, transformers_library
from obverse.integrations.image_input import InputFormat

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Classifier:
    """Items to scores.

    Attributes:
        encoder: the model.
        classes: names in the order of the scores, where the model says them.
    """

    encoder: FrozenEncoder
    classes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the model."""
        return self.encoder.name

    def __call__(self, items: Sequence[Array] | Array) -> Array:
        """Images, or vectors (n, d) of floats, to scores (n, classes) of float.

        Raises:
            InputError: where there are none, or the model cannot be run on them.
        """
        if isinstance(items, np.ndarray) and items.ndim == 2 and items.dtype.kind == "f":
            return replace(self.encoder, inputs=None)(items.astype(np.float32))
        return self.encoder(items)


def load_classifier(
    source: str | Path,
    inputs: InputFormat | None = None,
    classes: Sequence[str] = (),
    trust: bool = False,
) -> Classifier:
    """The classifier behind `module:function` or the path of a model.

    Args:
        source: one of these.
        inputs: how images become its input, as in `load_encoder`.
        classes: what a CLIP model looks for.
        trust: whether a file that is a program may be loaded, as in `load_encoder`.

    Raises:
        InputError: where there is no classifier, a file of it is damaged, or is a program that is not trusted.
        MissingExtraError: where the library that runs it is not installed.
    """
    folder = Path(source)
    if not folder.is_dir():
        encoder = load_encoder(source, inputs, trust=trust)
        # functions are explained too, as models in files are
        return Classifier(replace(encoder, function=explained(encoder.function, folder)), tuple(classes))
    try:
        config = json.loads((folder / "config.json").read_bytes())
        architectures = [str(name) for name in config.get("architectures") or ()]
        named = {int(key): str(name) for key, name in (config.get("id2label") or {}).items()}
    except FileNotFoundError:
        raise InputError(
            f"the folder {folder} holds no Hugging Face model: there is no config.json in it"
        ) from None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"the config.json in {folder} is damaged: {error}") from error
    if any(name.endswith("ForImageClassification") for name in architectures):
        model, _ = pretrained(transformers_library().AutoModelForImageClassification, folder)
        files = [path for pattern in WEIGHTS for path in folder.glob(pattern)]
        encoder = FrozenEncoder(
            explained(_logits(model), folder), folder.resolve().name, file_fingerprint(files),
            inputs or InputFormat.of_folder(folder),
        )  # fmt: skip
        return Classifier(encoder, tuple(name for _, name in sorted(named.items())))
    if not classes:
        raise InputError(
            f"the model in {folder} gives no class scores ({', '.join(architectures) or 'nothing'}): give an image "
            "classifier, or class names (--classes) if it is a CLIP model"
        )
    prototypes = np.stack(list(clip_prototypes(folder, classes).values()))
    seen = load_encoder(folder, inputs)
    return Classifier(replace(seen, function=_angles(seen, prototypes)), tuple(classes))


def _logits(model: Any) -> Any:
    import torch

    def run(batch: Any) -> Any:
        with torch.inference_mode():
            return model(pixel_values=torch.from_numpy(batch)).logits

    return run


def _angles(encoder: FrozenEncoder, prototypes: Array) -> Any:
    """Cosines between features and prototypes: zero-shot scores."""
    directions = prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)

    def run(batch: Any) -> Any:
        features = as_array(encoder.function(batch), f"what the encoder {encoder.name} makes")
        if features.ndim != 2 or features.shape[1] != directions.shape[1]:
            raise InputError(f"the model {encoder.name} has image and text embeddings of different lengths")
        return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12) @ directions.T

    return run
