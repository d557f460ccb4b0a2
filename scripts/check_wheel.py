"""What `make check-wheel` runs: build the wheel, install it into an empty environment, and use it far from the sources.

An environment that has been used for development hides what a wheel lacks: a dependency that nobody named, a model that
was not packed, a file that is only found beside the sources.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PHOTO = REPOSITORY / "examples" / "kodim23.png"
PACKED = ("pyproject.toml", "README.md", "LICENSE")

# run by the Python of the new environment, in a folder that holds the photo and what the commands wrote
CHECK = """
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import obverse
from obverse.metrics.distortion import psnr

installed = Path(obverse.__file__).resolve()
if not installed.is_relative_to(Path(sys.prefix).resolve()):
    sys.exit(f"obverse was imported from {installed}, not from the new environment")
if not (installed.parent / "py.typed").is_file():
    sys.exit("the wheel has no py.typed")
for entry in obverse.list_codecs():
    obverse.open_codec(entry.id)  # its code and its shipped model are there

original = np.asarray(Image.open("kodim23.png").convert("RGB"))
again = np.asarray(Image.open("lossy.png"))
quality = psnr(original, again)
if again.shape != original.shape or quality < 30:
    sys.exit(f"the photo came back as {again.shape} with {quality:.2f} dB")
if not np.array_equal(original, np.asarray(Image.open("lossless.png").convert("RGB"))):
    sys.exit("the lossless photo came back with other pixels")
print(
    f"{len(obverse.list_codecs())} codecs open; kodim23.png: lossy {Path('lossy.obv').stat().st_size:,} bytes, "
    f"{quality:.2f} dB; lossless {Path('lossless.obv').stat().st_size:,} bytes, every pixel back"
)
"""


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command where nothing of this environment is seen; ends this program if it fails."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OBVERSE_ZOO"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment)
    if done.returncode:
        sys.exit(f"failed with exit code {done.returncode}: {Path(command[0]).name} {command[1]} ...")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="obverse-wheel-") as folder:
        place = Path(folder)
        sources = place / "sources"  # a copy: a build folder left in the tree would be packed as well
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(REPOSITORY / "src", sources / "src", ignore=ignored)
        for name in PACKED:
            shutil.copy(REPOSITORY / name, sources)
        pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
        run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", place, sources, cwd=place)
        (wheel,) = place.glob("obverse-*.whl")

        venv.create(place / "environment", with_pip=True)
        binaries = place / "environment" / ("Scripts" if os.name == "nt" else "bin")
        constraints = REPOSITORY / "constraints.txt"
        run(binaries / "python", *pip, "install", "--constraint", constraints, wheel, cwd=place)

        desk = place / "desk"
        desk.mkdir()
        shutil.copy(PHOTO, desk)
        obverse = binaries / "obverse"
        run(obverse, "compress", "kodim23.png", "--output", "lossy.obv", cwd=desk)
        run(obverse, "decompress", "lossy.obv", "--output", "lossy.png", cwd=desk)
        run(obverse, "compress", "--lossless", "kodim23.png", "--output", "lossless.obv", cwd=desk)
        run(obverse, "decompress", "lossless.obv", "--output", "lossless.png", cwd=desk)
        run(binaries / "python", "-c", CHECK, cwd=desk)


if __name__ == "__main__":
    main()
