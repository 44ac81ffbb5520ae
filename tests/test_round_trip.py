# SPDX-License-Identifier: GPL-3.0-or-later
"""What a converted recording still knows of the one it was made from."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import SPECS, Sample, Spec

import rsciio_tem
from rsciio_tem.errors import FormatError, RecordingWarning


def one_of_each() -> list[Spec]:
    """The first sample with a file of each format."""
    first: dict[str, Spec] = {}
    for spec in SPECS:
        if spec.has_file and "full frame" not in spec.variant:
            first.setdefault(spec.format, spec)
    return list(first.values())


def plain(value: Any) -> Any:
    """As JSON has it, in which the metadata are kept."""
    return json.loads(json.dumps(value, default=str))


@pytest.mark.parametrize("suffix", ["h5", "zarr"])
@pytest.mark.parametrize("spec", one_of_each(), ids=str)
def test_metadata_and_axes_come_back(
    spec: Spec, suffix: str, sample_of: Any, tmp_path: Path
) -> None:
    sample: Sample = sample_of(spec)
    assert sample.path is not None
    if suffix == "zarr":
        pytest.importorskip("zarr")
    target = tmp_path / f"copy.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        before = rsciio_tem.load(sample.path, sample.format, lazy=True, **sample.options)[0]
        try:
            rsciio_tem.convert(
                sample.path,
                target,
                source_format=sample.format,
                progress=False,
                **sample.options,
            )
        except FormatError as error:
            pytest.skip(str(error))
        after = rsciio_tem.load(target, lazy=True)[0]
    np.testing.assert_array_equal(after["data"], before["data"])
    assert after["metadata"] == plain(before["metadata"])
    for old, new in zip(before["axes"], after["axes"], strict=True):
        if "axis" in old:
            continue
        for key in ("scale", "offset", "size", "navigate"):
            assert new[key] == old[key], key
        for key in ("name", "units"):
            assert (new[key] or "") == (old[key] or ""), key
    source = plain(before["original_metadata"])
    evidence = source.pop("rsciio_tem")
    kept = plain(after["original_metadata"])
    assert kept["converted_from"]["scan"] == evidence["scan"]
    for name, value in source.items():
        assert kept[name] == value or name in ("hdf5", "file", "zarr", "attributes"), name
