"""Fuzz the container and every codec, as many at once as there are cores; `make fuzz` runs it.

A finding is an exception that is no ObverseError, a crash, or an input that takes more than a minute. Its input lies in the
folder `fuzz-findings/`, and the command that showed it is printed.

The number of inputs for the container and for each codec are options, for a shorter or a longer run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from obverse.registry import built_in_methods

FINDINGS = Path("fuzz-findings")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
SECONDS = 60  # that an input may take


def fuzz(name: str, arguments: list[str], runs: int) -> bool:
    """Run one fuzzer to its end; says how it went. Returns whether nothing was found."""
    started = time.monotonic()
    command = [sys.executable, "-m", *arguments, f"-atheris_runs={runs}"]
    command += [f"-timeout={SECONDS}", f"-artifact_prefix={FINDINGS}/{name}-", "-verbosity=0"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ONE_THREAD, check=False)
    minutes = (time.monotonic() - started) / 60
    found = done.returncode != 0
    sys.stdout.write(f"{name}: {runs:,} inputs, {minutes:.1f} min: {'FOUND' if found else 'nothing found'}\n")
    if found:
        sys.stdout.write(done.stdout[-3000:] + done.stderr[-6000:] + "\n" + " ".join(command) + "\n")
    sys.stdout.flush()
    return not found


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--container", type=int, default=1_000_000, help="inputs for the container")
    parser.add_argument("--codec", type=int, default=10_000, help="inputs for each codec")
    given = parser.parse_args()
    FINDINGS.mkdir(exist_ok=True)
    work = [("container", ["tests.fuzz.fuzz_container"], given.container)]
    work += [(name, ["tests.fuzz.fuzz_codecs", name], given.codec) for name in built_in_methods()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2) as pool:
        fine = list(pool.map(lambda one: fuzz(*one), work))
    sys.stdout.write(f"{sum(fine)} of {len(fine)} fuzzers found nothing\n")
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
