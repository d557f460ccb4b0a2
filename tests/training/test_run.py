"""What runs share: checkpoints that resume to the very same state, and what is said."""

import json
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from obverse import cli
from obverse.errors import InputError, TrainingError
from obverse.interrupts import Terminated
from obverse.training.checkpoint import Checkpoint, reading, steps_of
from obverse.training.lock import NAME, only_run
from obverse.training.log import log
from obverse.training.phases import record_phase, recorded_phases
from obverse.training.progress import Progress, validations
from obverse.training.run import Run, Unvalidated, check_device

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


@pytest.mark.parametrize("damage", ["bytes", "model", "rng", "step"])
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


@pytest.mark.parametrize("step", ["x", None, -1, 2.5, True, [3]])
def test_a_step_that_is_no_number_is_refused(step):
    with pytest.raises(ValueError, match="no number of steps"):
        steps_of({"step": step})
    assert steps_of({"step": 7}) == 7


def test_damaged_lines_of_validations_are_left_out(tmp_path, capsys):
    assert validations(tmp_path) == []
    Progress(tmp_path, 0, 4).validation(2, {"rows": [1]}, "")
    with (tmp_path / "validation.jsonl").open("ab") as file:
        file.write(b'{"step": 4, "ro\n\xff\xfe\n[1]\n3\n{"step": 5}\n' + b"[" * 100_000 + b"\n")
    Progress(tmp_path, 0, 4).validation(6, {"rows": [2]}, "")
    assert [row["step"] for row in validations(tmp_path, "rows")] == [2, 6]
    assert capsys.readouterr().err.count("has a damaged line") == 6


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
    from obverse.codecs.split.recipe import SplitRecipe
    from obverse.codecs.split.sizes import SplitConfig

    with pytest.raises(InputError, match="is not the recipe of this run"):
        recorded_phases(tmp_path / "checkpoint.pt")
    for steps in (10, 10, 20):
        record_phase(tmp_path / "recipe.json", SplitRecipe(steps=steps), SplitConfig(), "made", steps)
    phases = recorded_phases(tmp_path / "checkpoint.pt")
    assert [phase["from_step"] for phase in phases] == [10, 20]


# -- the loop -----------------------------------------------------------------------------------------------


def run_of(out, seed: int, steps: int = 10, validate_every: int = 4):
    model, optimiser, rng = some(seed)
    recipe = SimpleNamespace(steps=steps, validate_every=validate_every, checkpoint_seconds=1e6)
    run = Run(out, CPU, recipe, {"model": model, "optimiser": optimiser}, {"rng": rng})
    run.resume()
    return run, model, lambda: run.log(loss=advance(model, optimiser, rng))


def validated(out) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "validation.jsonl").read_text().splitlines()]


def test_a_run_takes_its_steps_and_is_validated_in_between(tmp_path):
    run, _, advance_once = run_of(tmp_path, 1)
    taken = []
    for step in run.steps(lambda: ({"x": 1.0}, None), {5}, first=True):
        advance_once()
        taken.append(step)
    assert taken == list(range(10)) and validated(tmp_path) == [0, 4, 5, 8, 10]
    assert torch.load(run.checkpoint.path, weights_only=True)["step"] == 10
    again, _, _ = run_of(tmp_path, 2)
    assert list(again.steps(lambda: ({"x": 1.0}, None), first=True)) == []  # it is finished


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("during", ["step", "validation"])
def test_a_stopped_run_keeps_the_step_that_it_was_in(tmp_path, capsys, number, during):
    """A signal in the middle of a step, or of a validation: the run then ends as one that was not stopped."""

    def whole(out, stop_at):
        run, model, advance_once = run_of(out, 1)

        def validate():
            if stop_at == ("validation", run.step):
                os.kill(os.getpid(), number)
            return {"x": 1.0}, None

        for step in run.steps(validate):
            if stop_at == ("step", step):
                os.kill(os.getpid(), number)
            advance_once()
        return model.state_dict()

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for name in "ab":
        (tmp_path / name).mkdir()
    wanted = whole(tmp_path / "a", None)
    with pytest.raises(
        KeyboardInterrupt, match=r"step 4 of 10 is kept in .*checkpoint\.pt, and the same command"
    ):
        whole(tmp_path / "b", (during, 3 if during == "step" else 4))
    assert torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)["step"] == 4
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    found = whole(tmp_path / "b", None)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert ("stopping after this step" in capsys.readouterr().err) == (during == "step")


def test_who_asks_twice_does_not_wait_for_the_step(tmp_path):
    run, _, _ = run_of(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt) as stopped:
        for _ in run.steps():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the step went on")
    assert not stopped.value.args and not run.checkpoint.path.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_disturb_the_checkpoint(tmp_path, monkeypatch, number):
    """Whoever presses Ctrl-C again while the run ends gets the same end: no traceback, no temporary file."""
    run, _, advance_once = run_of(tmp_path, 1)
    save = torch.save

    def slow(state, file):
        for _ in range(3):
            os.kill(os.getpid(), number)
        save(state, file)

    monkeypatch.setattr(torch, "save", slow)
    with pytest.raises(KeyboardInterrupt, match="step 1 of 10 is kept") as stopped:
        for _ in run.steps():
            advance_once()
            os.kill(os.getpid(), number)
    assert isinstance(stopped.value, Terminated) == (number == signal.SIGTERM)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_one_run_at_a_time_in_a_folder(tmp_path):
    program = "import sys, pathlib\nfrom obverse.training.lock import only_run\n"
    program += "with only_run(pathlib.Path(sys.argv[1])): print('in', flush=True); sys.stdin.readline()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipe = subprocess.PIPE
    first = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert first.stdout.readline() == "in\n"
    with pytest.raises(TrainingError, match="another run trains in"), only_run(tmp_path):
        pytest.fail("two runs in one folder")
    first.kill()  # its lock ends with it, though the file stays
    first.communicate()
    assert (tmp_path / NAME).exists()
    with only_run(tmp_path):
        assert (tmp_path / NAME).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_training_goes_on_without_anybody_who_reads(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    log("lost")
    written = []

    def broken(text):
        written.append(text)
        raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=broken))
    log("lost too")
    assert written == ["lost too\n"]


def test_a_run_in_a_thread_leaves_signals_alone(tmp_path):
    run, _, advance_once = run_of(tmp_path, 1)
    seen = []

    def work():
        for step in run.steps():
            advance_once()
            seen.append(step)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen) == 10 and signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_what_was_kept(tmp_path, number, capsys):
    """A process of its own, stopped as a shell or a scheduler does it; the same command then ends the run."""
    images = np.random.default_rng(0).integers(0, 256, (120, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    sizes = ["--channels", "8", "--local", "0", "--top", "2", "--threads", "1", "--device", "cpu"]
    words = ["train", "vae", *sizes, "--data", str(tmp_path / "images.npy"), "--out", str(tmp_path / "run")]
    command = [sys.executable, "-c", "from obverse.cli import main; main()", *words, "--steps", "100000"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    told = []
    for line in run.stderr:
        told.append(line)
        if line.startswith("step "):
            run.send_signal(number)
            break
    told.append(run.communicate(timeout=60)[1])
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"]
    word, code = ("interrupted", 130) if number == signal.SIGINT else ("terminated", 143)
    assert run.returncode == code and kept >= 100
    assert f"{word}: step {kept} of 100000 is kept in {tmp_path}/run/checkpoint.pt" in "".join(told)
    assert cli.run([*words, "--steps", str(kept + 2)]) == 0
    assert f"resumed at step {kept}" in capsys.readouterr().err
    assert (tmp_path / "run" / "model" / "config.json").exists()


@pytest.mark.parametrize("text", ["{", "[1]", '{"phases": 3}', '{"phases": [{"recipe": 3}]}', "[" * 100_000])
def test_a_damaged_recipe_of_a_run_is_a_sentence(tmp_path, text):
    (tmp_path / "recipe.json").write_text(text)
    for read in (
        lambda: recorded_phases(tmp_path / "checkpoint.pt"),
        lambda: record_phase(tmp_path / "recipe.json", Unvalidated(3, 1.0), None, "made", 0),
    ):
        with pytest.raises(InputError, match="not the recipe of this run"):
            read()


def test_networks_of_other_sizes_are_told_by_name(tmp_path):
    network = torch.nn.Linear(2, 2)
    kept = Checkpoint(tmp_path, torch.device("cpu"), {"model": network}, {}, {"config": {"width": 2}}, 1.0)
    kept.save(3)
    other = torch.nn.Linear(3, 3)
    wider = Checkpoint(tmp_path, torch.device("cpu"), {"model": other}, {}, {"config": {"width": 3}}, 1.0)
    with pytest.raises(TrainingError, match=r"cannot be resumed, its networks have width 2, not 3: choose"):
        wider.resume()
    foreign = Checkpoint(tmp_path, torch.device("cpu"), {"networks": other}, {}, {}, 1.0)
    with pytest.raises(TrainingError, match="it is of another method"):
        foreign.resume()
