"""What a training says of long work."""

from obverse.training.log import Paced


def test_lines_come_now_and_then_with_the_time_that_is_left(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr("obverse.training.log.time.monotonic", lambda: now)
    told = Paced("design")
    for share in (0.0, 0.02, 0.25, 0.26, 0.5, 1.0):
        told(share)
        now += 6
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["design: 25%, 0.6 min left", "design: 50%, 0.4 min left"]
