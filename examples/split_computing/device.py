"""The device of split computing: encodes images, sends payloads, prints what the server says they show.

    python examples/split_computing/device.py halves/device.safetensors images.npy --port 7700

It loads the device's half of the model and nothing else. images.npy holds (n, S, S, 3) uint8, of the model's size. The
last lines tell bytes an image and the median milliseconds of each step.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import numpy as np
from protocol import HELLO, ProtocolError, frame, read_frame

from obverse.codecs.split.halves import DeviceHalf, load_device
from obverse.data.image_sets import read_image_set
from obverse.errors import ObverseError


async def send(half: DeviceHalf, images: np.ndarray, host: str, port: int) -> None:
    """Send one image at a time, wait for its answer, and report."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(HELLO + half.fingerprint)
        await read_frame(reader, 0)
        sizes: list[int] = []
        spent: dict[str, list[float]] = {"encode": [], "transfer": [], "predict": []}
        for number, image in enumerate(images):
            started = time.perf_counter()
            payload = half.encode(image)
            sent = time.perf_counter()
            writer.write(frame(payload))
            await writer.drain()
            expected = 4 + 4 * half.config.teacher.classes
            answer = await read_frame(reader, expected)
            if len(answer) != expected:
                raise ProtocolError(f"an answer of {len(answer)} bytes, where {expected} are expected")
            answered = time.perf_counter()
            predicting = int.from_bytes(answer[:4], "little") / 1e6
            logits = np.frombuffer(answer[4:], "<f4")
            sizes.append(len(payload))
            print(f"image {number}: class {logits.argmax()}, {len(payload)} bytes")
            if number:  # the first call of a network prepares it
                for step, seconds in zip(
                    spent, (sent - started, answered - sent - predicting, predicting), strict=True
                ):
                    spent[step].append(1000 * seconds)
        print(f"bytes an image: {np.mean(sizes):.1f}, and 4 of the frame; its pixels are {images[0].size}")
        if len(images) > 1:
            print(
                "median ms: " + ", ".join(f"{step} {statistics.median(ms):.2f}" for step, ms in spent.items())
            )
    finally:
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("half", help="device.safetensors of `obverse split export`")
    parser.add_argument("images", help="a .npy (n, S, S, 3) uint8, or a folder of images")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7700)
    arguments = parser.parse_args()
    try:
        from pathlib import Path

        half = load_device(arguments.half)
        asyncio.run(send(half, read_image_set(Path(arguments.images)), arguments.host, arguments.port))
    except (ProtocolError, ObverseError, OSError) as error:
        raise SystemExit(f"device: {error}") from None


if __name__ == "__main__":
    main()
