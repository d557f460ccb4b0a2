"""The command of split computing: the two halves of a model, each a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from obverse.cli.console import human, out, printable, to_json
from obverse.cli.options import Force, Json

split_app = App(name="split", help="Split a model into the half for a device and the half for a server.")

DEVICE_FILE, SERVER_FILE = "device.safetensors", "server.safetensors"


@split_app.command(name="export")
def split_export(
    model: Annotated[
        str, Parameter(help="Name or folder of a split model; the shipped one by default.")
    ] = "split",
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Folder for the two files.")],
    force: Force = False,
    json: Json = False,
) -> int:
    """Write the two halves of a split model, each a file that is loaded alone.

    For example:

    - `obverse split export -o halves` writes halves/device.safetensors and halves/server.safetensors
    - `obverse split export runs/split/model -o halves`
    """
    from obverse.codecs.split.codec import SplitCodec
    from obverse.container.files import make_folder
    from obverse.errors import ModelError, OutputExistsError
    from obverse.registry import open_model

    codec = open_model(model)
    if not isinstance(codec, SplitCodec):
        raise ModelError(f"{model} is a model of the codec {codec.id!r}: only split models have two halves")
    targets = {output / DEVICE_FILE: codec.device, output / SERVER_FILE: codec.server}
    for target, half in targets.items():
        if target.exists() and not force:  # both are checked before one is written
            raise OutputExistsError(f"{target} exists; use --force to overwrite it")
        half.check()
    make_folder(output)
    rows = [
        {"half": half.kind, "output": str(target), "bytes_out": half.store(target, overwrite=force),
         "model": codec.fingerprint.hex()}
        for target, half in targets.items()
    ]  # fmt: skip
    if json:
        out(to_json(rows))
    else:
        for row in rows:
            out(f"{printable(row['output'])}: {human(int(row['bytes_out']))}, model {row['model']}")
    return 0
