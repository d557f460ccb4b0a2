"""Vision models of a Hugging Face folder on disk, as encoders; and class names as CLIP's text embeddings.

    folder ──► config.json says which ──► model ──► image embedding, pooled output, or the mean of the last maps
    names ──► CLIP's text model ──► prototypes (d,), one a name

Nothing is downloaded, and weights that are missing are never made up. Needs `transformers`, imported when used.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt

from obverse.errors import InputError, MissingExtraError
from obverse.integrations.frozen_encoder import FrozenEncoder, explained, file_fingerprint
from obverse.integrations.image_input import InputFormat

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]

WEIGHTS = ("*.safetensors", "*.bin", "config.json", "preprocessor_config.json")


def hugging_face_encoder(folder: Path, inputs: InputFormat | None) -> FrozenEncoder:
    """The vision model of a folder: of CLIP and its kind the projected embedding, else what the model pools."""
    if not (folder / "config.json").is_file():
        raise InputError(f"the folder {folder} holds no Hugging Face model: there is no config.json in it")
    transformers = transformers_library()
    try:
        config = json.loads((folder / "config.json").read_bytes())
        projected = "CLIPVisionModelWithProjection" in (config.get("architectures") or ())
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"the config.json in {folder} is damaged: {error}") from error
    model, pools = pretrained(
        transformers.CLIPVisionModelWithProjection if projected else transformers.AutoModel, folder
    )
    files = [path for pattern in WEIGHTS for path in folder.glob(pattern)]
    run = explained(_pooled(model, pools), folder)
    return FrozenEncoder(
        run, folder.resolve().name, file_fingerprint(files), inputs or InputFormat.of_folder(folder)
    )


def pretrained(loader: Any, folder: str | Path) -> tuple[Any, bool]:
    """The model in evaluation mode, and whether the weights of its pooling were there.

    What lacks weights, the library would fill with random ones: features that nobody can make again.
    """
    try:
        with _quietly():
            model, info = loader.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:
        raise InputError(f"the Hugging Face model in {folder} cannot be loaded: {error}") from error
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key) + sorted(
        map(str, info["mismatched_keys"])
    )
    if missing:
        raise InputError(
            f"the Hugging Face model in {folder} lacks {len(missing)} of its weights, such as {missing[0]}: "
            "get it whole"
        )
    return model.eval(), not info["missing_keys"]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's progress bars."""
    logging = transformers_library().utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _pooled(model: Any, pools: bool) -> Function:
    import torch

    def run(batch: Any) -> Any:
        pixels = torch.from_numpy(batch)
        with torch.inference_mode():
            if hasattr(model, "get_image_features"):
                return _embedding(model.get_image_features(pixel_values=pixels))
            made = model(pixel_values=pixels)
        pooled = getattr(made, "image_embeds", None)
        if pooled is None and pools:
            pooled = getattr(made, "pooler_output", None)
        if pooled is None:  # tokens (N, T, d): that of the class; maps (N, d, h, w): their mean
            last = made.last_hidden_state
            pooled = last[:, 0] if last.ndim == 3 else last.mean((2, 3))
        return pooled.flatten(1)

    return run


def _embedding(made: Any) -> Any:
    """What a two-tower model projects: a tensor up to version 4 of the library, pooler_output since."""
    return getattr(made, "pooler_output", made)


def clip_prototypes(
    folder: str | Path, names: Sequence[str], template: str = "a photo of a {}."
) -> dict[str, Array]:
    """For each class name the text embedding (d,) of a CLIP model on disk: zero-shot prototypes.

    Args:
        folder: of the model.
        names: of the classes.
        template: a sentence with {} where the name goes.

    Raises:
        InputError: without names, for another template, and for a model that cannot be loaded or used.
        MissingExtraError: where transformers is not installed.
    """
    if not names or "{}" not in template:
        raise InputError("prototypes need class names, and a template with {} where the name goes")
    transformers = transformers_library()
    import torch

    model, _ = pretrained(transformers.AutoModel, folder)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        tokens = tokenizer([template.format(name) for name in names], padding=True, return_tensors="pt")
        with torch.inference_mode():
            vectors = _embedding(model.get_text_features(**tokens)).float().numpy()
    except Exception as error:
        raise InputError(f"the CLIP text model in {folder} cannot be used: {error}") from error
    return dict(zip(names, vectors, strict=True))


def transformers_library() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise MissingExtraError(
            "Hugging Face encoders need transformers: pip install 'obverse[clip]'"
        ) from None
