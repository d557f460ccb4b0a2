"""What runs share: checkpoints that resume to the very same state, and what is said."""

import json

import numpy as np
import pytest
import torch

from obverse.errors import InputError, TrainingError
from obverse.training.run import Checkpoint, Progress, check_device, reading, record_phase, recorded_phases

CPU = torch.device("cpu")


def some(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer, np.random.Generator]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(2, 1)
    return model, torch.optim.Adam(model.parameters(), 0.1), np.random.default_rng(seed)


def checkpoint_of(out, seed: int, seconds: float = 60.0):
    model, optimiser, rng = some(seed)
    parts = {"model": model, "optimiser": optimiser}
    return Checkpoint(out, CPU, parts, {"rng": rng}, {"config": {"width": 2}}, seconds), model, optimiser, rng


def advance(model, optimiser, rng) -> float:
    optimiser.zero_grad()
    loss = model(torch.from_numpy(rng.normal(size=(4, 2))).float() + torch.rand(4, 2)).square().mean()
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def test_what_is_resumed_goes_on_as_if_it_had_not_stopped(tmp_path):
    checkpoint, *run = checkpoint_of(tmp_path, 1)
    assert checkpoint.resume() == 0
    advance(*run)
    checkpoint.save(1)
    wanted = [advance(*run) for _ in range(3)]
    again, *other = checkpoint_of(tmp_path, 2)
    assert again.resume() == 1
    assert [advance(*other) for _ in range(3)] == wanted
    assert torch.load(again.path, weights_only=True)["config"] == {"width": 2}


def test_it_is_written_at_the_end_and_when_it_was_long_ago(tmp_path):
    checkpoint, *_ = checkpoint_of(tmp_path, 1, seconds=1e6)
    checkpoint.save_if_due(5, 10)
    assert not checkpoint.path.exists()
    checkpoint.save_if_due(10, 10)
    assert checkpoint.path.exists()
    often, *_ = checkpoint_of(tmp_path, 1, seconds=-1.0)
    often.save_if_due(3, 10)
    assert torch.load(often.path, weights_only=True)["step"] == 3


def test_a_checkpoint_without_torchs_generator_resumes(tmp_path):
    checkpoint, *_ = checkpoint_of(tmp_path, 1)
    checkpoint.save(4)
    state = torch.load(checkpoint.path, weights_only=True)
    del state["torch_rng"], state["cuda_rng"]
    torch.save(state, checkpoint.path)
    assert checkpoint_of(tmp_path, 2)[0].resume() == 4


@pytest.mark.parametrize("damage", ["bytes", "model", "rng"])
def test_a_damaged_checkpoint_is_told(tmp_path, damage):
    checkpoint, *_ = checkpoint_of(tmp_path, 1)
    checkpoint.save(4)
    if damage == "bytes":
        checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:200])
    else:
        state = torch.load(checkpoint.path, weights_only=True)
        state[damage] = {} if damage == "model" else "no json"
        torch.save(state, checkpoint.path)
    with pytest.raises(TrainingError, match=r"(?s)cannot be resumed.*--out"):
        checkpoint_of(tmp_path, 2)[0].resume()


def test_reading_says_what_was_expected(tmp_path):
    with pytest.raises(InputError, match="there is no checkpoint"), reading(tmp_path / "none", "a teacher"):
        torch.load(tmp_path / "none")
    with (
        pytest.raises(InputError, match="is not a checkpoint of a teacher: no part"),
        reading(tmp_path, "a teacher"),
    ):
        raise ValueError("no part")


def test_progress_is_said_and_written(tmp_path, capsys):
    progress = Progress(tmp_path, 0, 4, every=2)
    for step, value in enumerate((1.0, 2.0, 2.0, 2.0), 1):
        progress.step(step, {"loss": value}, " lr 1")
    progress.validation(4, {"accuracy": 0.5})
    progress.validation(4, {"rows": [1]}, "in words")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 2 of 4: loss 1.0200 lr 1 ") and lines[0].endswith(" min left")
    assert lines[1].startswith("step 4 of 4: loss 1.0588 ")
    assert lines[2:] == ["validation: accuracy 0.5000", "validation: in words"]
    rows = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert rows == [{"step": 4, "accuracy": 0.5}, {"step": 4, "rows": [1]}]


def test_a_device_that_is_not_here_is_told():
    assert check_device("cpu") == CPU
    assert check_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(TrainingError, match="there is no device 'abacus' here: use cpu"):
        check_device("abacus")


def test_recorded_phases_are_read_again_or_missed(tmp_path):
    from obverse.codecs.split.networks import SplitConfig
    from obverse.codecs.split.train import SplitRecipe

    with pytest.raises(InputError, match="is not the recipe of this run"):
        recorded_phases(tmp_path / "checkpoint.pt")
    for steps in (10, 10, 20):
        record_phase(tmp_path / "recipe.json", SplitRecipe(steps=steps), SplitConfig(), "made", steps)
    phases = recorded_phases(tmp_path / "checkpoint.pt")
    assert [phase["from_step"] for phase in phases] == [10, 20]
