"""Turn a training run of the stereo codec into the model that ships: float16 weights, a card, and the least match.

The fusion network only synthesises, so nothing has to be exact. What is calibrated here is from which match on the
decoder believes that the left view belongs to the file (`codecs/stereo/codec.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

from obverse.codecs.image.codec import ImageCodec
from obverse.codecs.stereo.codec import image_decoder, match_of
from obverse.codecs.stereo.crops import Bytes, Decode
from obverse.codecs.stereo.fusion import StereoFusion
from obverse.codecs.stereo.pairs import other_camera, pair_files, read_pair
from obverse.codecs.stereo.recipe import StereoConfig, StereoInputs
from obverse.errors import ExportError
from obverse.training.checkpoint import reading, steps_of
from obverse.training.export import store_trained
from obverse.training.phases import recorded_phases
from obverse.zoo import StoredModel

MAX_BYTES = 4_000_000
CALIBRATION_QUALITIES = (1.0, 30.0)
CALIBRATION_PAIRS = 4

Match = Callable[[StereoFusion, Bytes, Bytes, float], float]
"""(network, decoded right view, left view, quality) -> how well they match, -1 to 1."""


def load_checkpoint(path: Path) -> tuple[StereoFusion, int]:
    """The averaged network of a checkpoint and its number of training steps."""
    with reading(path, "the stereo codec"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = StereoFusion(StereoConfig(**state["config"]))
        model.load_state_dict(state["average"])
        steps = steps_of(state)
    model.eval().requires_grad_(False)
    return model.to(memory_format=torch.channels_last), steps


def match_samples(
    network: StereoFusion,
    pairs: Sequence[tuple[Bytes, Bytes]],
    decode: Decode,
    match: Match,
    qualities: Sequence[float] = CALIBRATION_QUALITIES,
) -> tuple[list[float], list[float]]:
    """Matches of (left, right) pairs with their own left view and with wrong ones.

    The right ones also with another camera's gain, gamma and noise. The wrong ones: the left view of the next
    pair, mirrored (for views of one drive the strongest imposter that is not a view of the same place), and
    the pair's own, upside down.
    """
    good, wrong = [], []
    rng = np.random.default_rng(0)
    for i, (left, right) in enumerate(pairs):
        for quality in qualities:
            x = decode(right, quality)
            good += [match(network, x, view, quality) for view in (left, other_camera(left, rng))]
            stranger = pairs[(i + 1) % len(pairs)][0][:, ::-1]
            imposters = [left[::-1]] + ([stranger] if stranger.shape == left.shape and len(pairs) > 1 else [])
            wrong += [match(network, x, np.ascontiguousarray(view), quality) for view in imposters]
    return good, wrong


def export_stereo(
    checkpoint: Path,
    data: Sequence[Path],
    out: Path,
    decode: Decode,
    match: Match,
    image_model: bytes,
) -> StoredModel:
    """Write the model's three files into `out`; returns the model.

    data: the folders trained on. decode, match: of the codecs. image_model: fingerprint of the image codec's
    model that the network was trained with. Raises ExportError where matching and wrong views cannot be told
    apart, or the result is larger than 4 MB.
    """
    network, steps = load_checkpoint(checkpoint)
    phases = recorded_phases(checkpoint)
    keep_out = phases[-1]["recipe"].get("keep_out", 0)
    files = []
    for folder in data:
        if any(Path(folder).rglob("*_left.*")):
            found = pair_files([folder])
            files += found[: len(found) - keep_out]
    pairs = [read_pair(f) for f in files[:: max(1, len(files) // CALIBRATION_PAIRS)][:CALIBRATION_PAIRS]]
    # in the precision of the shipped weights
    network.load_state_dict({name: value.half().float() for name, value in network.state_dict().items()})
    good, wrong = match_samples(network, pairs, decode, match)
    if min(good) <= max(wrong):
        raise ExportError(
            f"a wrong left view matches as well ({max(wrong):.2f}) as a right one ({min(good):.2f}): train longer, "
            "or on pairs of a rectified camera"
        )
    # unseen cameras match worse than those trained on, wrong views hardly better: nearer to these
    least = max(wrong) + (min(good) - max(wrong)) / 3
    weights = save_safetensors({n: v.half().contiguous() for n, v in network.state_dict().items()})
    config = {
        "codec": "stereo",
        "model": network.config.as_dict(),
        "image_model": image_model.hex(),
        "least_match": round(least, 3),
        "steps": steps,
    }
    return store_trained(
        out,
        weights,
        config,
        about="Right views of stereo pairs, for a decoder that has the left view. A file holds what the image codec "
        "writes; the fusion network aligns the left view and corrects the decoded right one with it. Image model "
        f"`{image_model.hex()}`.",
        measured=[
            f"match (correlation of details): right views at least {min(good):.3f}, wrong ones at most "
            f"{max(wrong):.3f}; refused below {least:.3f}"
        ],
        recipe=phases,
        parameters=sum(p.numel() for p in network.parameters()),
        largest=MAX_BYTES,
    )


def export(inputs: StereoInputs, checkpoint: Path, out: Path) -> dict[str, object]:
    """What `obverse export stereo` does."""
    image = ImageCodec()
    model = export_stereo(checkpoint, inputs.data, out, image_decoder(image), match_of, image.fingerprint)
    return {"fingerprint": model.fingerprint.hex()}
