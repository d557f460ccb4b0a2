"""Kinds of files that hold weights, and those that are refused, each with what to do."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import obverse
from obverse.cli import run
from obverse.errors import InputError, UnsupportedInputError
from tests.codecs.weights.cases import matrix


def test_a_checkpoint_of_torch(tmp_path: Path) -> None:
    model = torch.nn.Linear(20, 30)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(20)).sum().backward()
    optimiser.step()
    path = tmp_path / "run.pt"
    torch.save(
        {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": 7, "name": "run"}, path
    )
    back = obverse.decompress(obverse.compress(path, codec="weights"))
    assert np.array_equal(back["model.weight"], model.weight.detach().numpy())
    assert np.array_equal(back["optimiser.state.0.exp_avg"], optimiser.state[model.weight]["exp_avg"].numpy())
    assert back.layout.metadata["step"] == "7" and back.layout.metadata["name"] == '"run"'


def test_an_archive_of_arrays(tmp_path: Path) -> None:
    arrays = {"a": matrix(5, 6, np.float32, 0), "b.c": np.arange(4)}
    np.savez(tmp_path / "x.npz", **arrays)
    back = obverse.decompress(obverse.compress(tmp_path / "x.npz", codec="weights"))
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)


def test_initialisers_of_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weight = matrix(6, 7, np.float32, 1)
    graph = onnx.helper.make_graph([], "g", [], [], [onnx.numpy_helper.from_array(weight, "w")])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    back = obverse.decompress(obverse.compress(tmp_path / "m.onnx", codec="weights"))
    assert np.array_equal(back["w"], weight)
    (tmp_path / "bad.onnx").write_bytes(b"\x08\xff\xff\xff\xff" * 9)
    with pytest.raises(InputError, match=r"bad\.onnx"):
        obverse.compress(tmp_path / "bad.onnx", codec="weights")


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/obverse-was-here", "w"))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    for name, data in (("p.pt", pickle.dumps(Evil())), ("q.pth", pickle.dumps({"w": Evil()}))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="save_file"):
            obverse.compress(tmp_path / name, codec="weights")
    torch.save({"w": torch.zeros(2), "e": Evil()}, tmp_path / "z.pt")
    with pytest.raises(InputError, match="save_file"):
        obverse.compress(tmp_path / "z.pt", codec="weights")
    assert not Path("/tmp/obverse-was-here").exists()
    np.savez(tmp_path / "o.npz", a=np.array([None]))
    with pytest.raises(InputError):
        obverse.compress(tmp_path / "o.npz", codec="weights")


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("m.gguf", b"GGUF\3\0\0\0", "GGUF"),
        ("a.npy", b"\x93NUMPY\1\0", "npz"),
        ("empty.safetensors", b"", "too short"),
        ("cut.safetensors", (2**60).to_bytes(8, "little") + b"{}", "complete copy"),
        ("zip.pt", b"PK\3\4 no archive", "weights_only"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((InputError, UnsupportedInputError), match=told):
        obverse.compress(tmp_path / name, codec="weights")


def test_the_kind_of_file_chooses_the_codec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.numpy import save_file

    base, new = (tmp_path / f"{name}.safetensors" for name in ("base", "new"))
    save_file({"w": matrix(30, 40, np.float32, 2)}, base)
    save_file({"w": matrix(30, 40, np.float32, 2) * np.float32(1.01)}, new)
    assert run(["compress", str(new), "--base", str(base)]) == 0
    assert run(["info", str(tmp_path / "new.obv")]) == 0
    said = capsys.readouterr().out
    assert "change of base" in said and "30x40" in said
    assert run(["decompress", str(tmp_path / "new.obv"), "-o", str(tmp_path / "back.safetensors")]) == 5
    assert (
        run(
            [
                "decompress",
                str(tmp_path / "new.obv"),
                "--base",
                str(base),
                "-o",
                str(tmp_path / "b.safetensors"),
            ]
        )
        == 0
    )
    assert (tmp_path / "b.safetensors").read_bytes() == new.read_bytes()
    assert (
        run(["decompress", str(tmp_path / "new.obv"), "--base", str(base), "-o", str(tmp_path / "x.png")])
        == 30
    )
    (tmp_path / "p.png").write_bytes(b"")
    assert run(["compress", str(new), str(tmp_path / "p.png"), "-o", str(tmp_path / "out")]) == 2
