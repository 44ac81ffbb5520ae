# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged recordings are read or refused: a short run of ``python -m tests.fuzz``, its parts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import engine, trial
from fuzz.cases import make_case
from fuzz.damage import Case
from fuzz.fields import Field, fields_of
from fuzz.victims import FORMATS, Victim, make_all

import rsciio_tem
from rsciio_tem.errors import FormatError

REPOSITORY = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")

#: Cases of each format, all formats together in about 20 s; other seeds are for longer runs.
CASES = 30


def test_damaged_recordings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--cases", str(CASES), "--trace"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
    assert f"{CASES * len(FORMATS)} files" in done.stdout


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Victim]]:
    return make_all(["mrc"], tmp_path_factory.mktemp("victims"))


def test_a_number_is_always_the_same_case(victims: dict[str, list[Victim]]) -> None:
    one, again, other = (make_case("mrc", number, victims["mrc"]) for number in (7, 7, 8))
    assert (str(one), one.changes) == (str(again), again.changes)
    assert str(one) != str(other)


def test_fields(victims: dict[str, list[Victim]]) -> None:
    content = victims["mrc"][0].files["stack.mrc"]
    fields = fields_of("mrc", content)
    assert {Field(4 * i, 4) for i in range(22)} <= set(fields)
    assert fields_of("mrc", content[:30])  # those before its end
    assert fields_of("txt", content) == []


class Trial:
    """A case that is nothing but damaged in a way that is chosen, and a folder for it."""

    def __init__(self, victim: Victim, folder: Path) -> None:
        self.case, self.folder = Case(victim, words=["nothing"]), folder / "case"

    def run(self, seed: str = "1") -> Any:
        return trial.run(self.case, self.folder, seed)


@pytest.fixture
def one(victims: dict[str, list[Victim]], tmp_path: Path) -> Trial:
    return Trial(victims["mrc"][0], tmp_path)


def test_outcomes(one: Trial) -> None:
    assert {one.run(str(seed)) for seed in range(30)} <= {"read", "refused"}
    assert one.run() == "read"
    one.case.changes["stack.mrc"] = b"nothing"
    assert one.run() == "refused"
    assert not one.folder.exists()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyError("x"), "KeyError"),
        (RecursionError(), "RecursionError"),
        (MemoryError(), "MemoryError"),
        (FormatError("elsewhere", "is wrong."), "an error that names no file"),
        (FormatError("/tmp", "is wrong."), "an error that names no file"),
    ],
)
def test_errors_are_faults(
    one: Trial, error: Exception, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(rsciio_tem, "load", load)
    assert one.run().kind == kind


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axes": []}, "axes of"),
        ({"data": np.zeros((2, 0, 4))}, "axes of"),
        ({"original_metadata": {"rsciio_tem": {}, 1: 2}}, "odd keys"),
    ],
)
def test_inconsistent_signals_are_faults(
    one: Trial, change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = rsciio_tem.load
    monkeypatch.setattr(rsciio_tem, "load", lambda *a, **k: [{**load(*a, **k)[0], **change}])
    assert words in one.run().message


def test_pixels_that_change_others_are_faults(one: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    (name, start, _), case = one.case.victim.pixels[3], one.case
    content = bytearray(case.content(name))
    content[start] ^= 1
    case.changes[name], case.pixels = bytes(content), (3, 1)
    assert one.run() == "read"
    case.pixels = (2, 1)
    assert "pixels of frame 2 changed, and frames [3]" in one.run().message


def test_lazy_values_that_differ_are_faults(one: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = trial._frame
    monkeypatch.setattr(trial, "_frame", lambda *args: frame(*args) + 1)
    outcomes = [one.run(str(seed)) for seed in range(30)]
    assert any("is another one" in str(outcome) for outcome in outcomes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # to fork beside threads
def test_processes_that_die_or_do_not_end(
    victims: dict[str, list[Victim]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(format: str, number: int, *_: Any) -> str:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 5:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            while True:
                pass
        return "read"

    monkeypatch.setattr(engine, "one", one)
    monkeypatch.setattr(engine, "SECONDS", 0.5)
    result = engine.fuzz(victims, tmp_path, cases=9)["mrc"]
    assert result.tried == 9
    assert result.counts["read"] == 7
    kinds = {number: fault.kind for some in result.faults.values() for number, fault in some}
    assert kinds == {3: "process died (-9)", 5: "does not end"}
