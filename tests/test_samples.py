# SPDX-License-Identifier: GPL-3.0-or-later
"""The samples are complete, and their kinds of frames are those in the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import kinds
import pytest
from kinds import TABLE, kind_of, one_of_each_kind
from samples import SPECS, TEN, Sample, Spec

from rsciio_tem.registry import FORMATS


def test_every_format_has_samples() -> None:
    made = {spec.format for spec in SPECS if spec.has_file}
    assert made == set(FORMATS), "samples/NAME.py has the samples of the format NAME"
    assert {spec.format for spec in SPECS if spec.variant == TEN} >= made
    assert len({str(spec) for spec in SPECS}) == len(SPECS)


def test_table_of_kinds(sample_of: Callable[[Spec], Sample]) -> None:
    """Whatever the kinds are called, the same samples are of the same kind."""
    groups: dict[str, set[str]] = {}
    for spec in SPECS:
        groups.setdefault(kind_of(sample_of(spec)), set()).add(str(spec))
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    assert sorted(map(sorted, table.values())) == sorted(map(sorted, groups.values())), (
        "write the table anew: python tests/kinds.py"
    )


def test_sample_that_is_not_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tested in full until somebody writes the table anew."""
    before = one_of_each_kind(SPECS)
    others = {kind: names[1:] for kind, names in json.loads(TABLE.read_text("utf-8")).items()}
    (tmp_path / "kinds.json").write_text(json.dumps(others), "utf-8")
    monkeypatch.setattr(kinds, "TABLE", tmp_path / "kinds.json")
    assert set(before) < set(one_of_each_kind(SPECS))
