"""Links in an output folder lead nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from obverse.container.within import check_within
from obverse.errors import OutputError


def test_links_out_of_a_folder_are_refused(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "away").symlink_to(elsewhere)
    (folder / "photo.png").symlink_to(elsewhere / "photo.png")
    (folder / "dangling").symlink_to(tmp_path / "none")
    (folder / "here").mkdir()
    (folder / "inner").symlink_to(folder / "here")
    (tmp_path / "door").symlink_to(folder)
    for bad in ("away/x.png", "photo.png", "dangling/x.png", "../x.png", "away/../x.png", "/etc/x.png"):
        with pytest.raises(OutputError, match="leads out of"):
            check_within(folder, folder / bad)
    for good in ("x.png", "new/deep/x.png", "inner/x.png", "here/../x.png"):
        check_within(folder, folder / good)
        check_within(tmp_path / "door", tmp_path / "door" / good)
