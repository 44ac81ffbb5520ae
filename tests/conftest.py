# SPDX-License-Identifier: GPL-3.0-or-later
"""Which recordings each test meets, and where those of real detectors lie."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # `samples` and `writers`, also for subfolders

from kinds import one_of_each_kind
from samples import MAPPINGS, SPECS, TEN, Mapping, Sample, Spec

REPOSITORY = Path(__file__).resolve().parents[1]

# How long a case takes says more about the machine than about the code.
settings.register_profile("rsciio_tem", deadline=None)
settings.load_profile("rsciio_tem")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-sample",
        action="store_true",
        help="ignore the marks per_kind and per_format: test everything with every sample",
    )


def pytest_configure(config: pytest.Config) -> None:
    for what in ("kind of frames", "format"):
        name = f"per_{what.split()[0]}"
        config.addinivalue_line("markers", f"{name}: tests one sample of each {what}, not all")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder with recordings of real detectors."""
    named = os.environ.get("RSCIIO_TEM_REALDATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "realdata"
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is not a folder (set RSCIIO_TEM_REALDATA)")
    return folder


# -- samples -------------------------------------------------------------------------------------


def _one_of_each_format(specs: list[Spec]) -> list[Spec]:
    first: dict[str, Spec] = {}
    for spec in specs:
        first.setdefault(spec.format, spec)
    return list(first.values())


def _one_of_either(specs: list[Spec]) -> list[Spec]:
    return list(dict.fromkeys([*_one_of_each_format(specs), *one_of_each_kind(specs)]))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the samples of the tests that have an argument with the name of a fixture below.

    A test marked with ``per_kind`` or ``per_format`` meets one sample for each kind of frames, or
    for each format, instead of every sample; one marked with both meets those of either.
    """
    chosen: Callable[[list[Spec]], list[Spec]] = list
    if not metafunc.config.getoption("every_sample"):
        marks = {mark.name for mark in metafunc.definition.iter_markers()}
        if {"per_kind", "per_format"} <= marks:
            chosen = _one_of_either
        elif "per_kind" in marks:
            chosen = one_of_each_kind
        elif "per_format" in marks:
            chosen = _one_of_each_format
    files = [spec for spec in SPECS if spec.has_file and not spec.is_folder]
    parameters: dict[str, list[Spec] | list[Mapping]] = {
        "sample": chosen(SPECS),
        "file_sample": chosen(files),
        "first_sample": _one_of_each_format(files),
        "ten": [spec for spec in SPECS if spec.variant == TEN],
        "mapping": MAPPINGS,
    }
    for name, values in parameters.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values, ids=str, indirect=True)


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Spec], Sample]:
    """Return the sample of a spec, written on first use."""
    made: dict[Spec, Sample] = {}

    def get(spec: Spec) -> Sample:
        if spec not in made:
            folder = tmp_path_factory.mktemp(spec.format)
            made[spec] = spec.make(folder, np.random.default_rng(zlib.crc32(str(spec).encode())))
        return made[spec]

    return get


@pytest.fixture
def sample(request: pytest.FixtureRequest, sample_of: Callable[[Spec], Sample]) -> Sample:
    """Every sample, or those that a mark chooses."""
    return sample_of(request.param)


@pytest.fixture
def file_sample(request: pytest.FixtureRequest, sample_of: Callable[[Spec], Sample]) -> Sample:
    """Every sample that is a file, or those that a mark chooses."""
    return sample_of(request.param)


@pytest.fixture
def first_sample(request: pytest.FixtureRequest, sample_of: Callable[[Spec], Sample]) -> Sample:
    """One sample for each format that has files: the first in its list."""
    return sample_of(request.param)


@pytest.fixture
def ten(request: pytest.FixtureRequest, sample_of: Callable[[Spec], Sample]) -> Sample:
    """A flat stack of ten frames, one for each format."""
    return sample_of(request.param)


@pytest.fixture
def mapping(request: pytest.FixtureRequest) -> Mapping:
    """One row of the table of frame mappings."""
    return request.param


@pytest.fixture(autouse=True)
def _closed_files() -> Iterator[None]:
    """Let no test live on files that another one left open."""
    yield
    from rsciio_tem.storage import backends

    backends.close_all()
