"""The command that trains the stereo codec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from obverse.cli.console import say
from obverse.cli.options import Device, set_threads


def train_stereo(
    *,
    data: Annotated[
        list[Path],
        Parameter(
            help="Folders of pairs (NAME_left.png, NAME_right.png) and of photos; repeat for several.",
            negative="",
        ),
    ],
    out: Annotated[Path, Parameter(help="Folder for checkpoint, recipe and logs.")],
    steps: Annotated[int, Parameter(help="Training steps in all.")] = 7000,
    keep_out: Annotated[
        int, Parameter(help="The last pairs of each folder are not trained on; for a test.")
    ] = 0,
    lr: Annotated[float, Parameter(help="Learning rate of Adam, before its fall at the end.")] = 1e-3,
    decay: Annotated[float, Parameter(help="Last part of the steps, over which lr falls to 0.")] = 0.4,
    seed: int = 1,
    device: Device = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train the stereo codec; a run that was stopped goes on from its checkpoint.

    For example:

    - `obverse train stereo --data pairs/ --data photos/ --keep-out 5 --out runs/stereo`
    - then `obverse compress right.png --codec runs/stereo/model`
    - and `obverse decompress right.obv --side-info left.png --model runs/stereo/model`
    """
    from obverse.codecs.stereo.pairs import pair_files

    pair_files(data)  # whether there are any, before torch is imported

    from obverse.codecs.image.codec import ImageCodec
    from obverse.codecs.stereo.codec import image_decoder, match_of
    from obverse.codecs.stereo.export import export_stereo
    from obverse.codecs.stereo.fusion import StereoConfig
    from obverse.codecs.stereo.train import StereoRecipe, train

    set_threads(threads)
    recipe = StereoRecipe(steps=steps, keep_out=keep_out, lr=lr, decay=decay, seed=seed)
    image = ImageCodec()
    decode = image_decoder(image)
    checkpoint = train(data, out, recipe, StereoConfig(), decode, device)
    facts = export_stereo(checkpoint, data, out / "model", decode, match_of, image.fingerprint)
    say(f"trained: {out / 'model'}, model {facts['fingerprint']}")
    return 0
