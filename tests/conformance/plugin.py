# SPDX-License-Identifier: GPL-3.0-or-later
"""pytest plugin (``-p plugin``): RosettaSciIO's tests meet our readers instead of its own.

``sys.modules`` gets a facade for each taken-over module. What the facade has is ours; private names
that only RosettaSciIO's tests know come from RosettaSciIO's module, loaded under another name.

Every test runs twice in one process: all of them with RosettaSciIO's conventions, then all of them
with our defaults. What became of each is written to the file that ``RSCIIO_TEM_CONFORMANCE`` names.
"""

from __future__ import annotations

import functools
import gc
import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rsciio
from rsciio.exceptions import VisibleDeprecationWarning

from rsciio_tem.formats import blo, dm, empad, mib, mrc, npy, ser, tvips

CONVENTIONS = ("rosettasciio", "ours")

#: RosettaSciIO module, our module, names served by us, keywords of RosettaSciIO's conventions
FORMATS: list[tuple[str, ModuleType, list[str], dict[str, Any]]] = [
    (
        "quantumdetector",
        mib,
        [
            "MIBProperties",
            "load_mib_data",
            "parse_exposures",
            "parse_hdr_file",
            "parse_timestamps",
        ],
        {"dtype": "stored", "scan": "rosettasciio"},
    ),
    ("numpy", npy, ["file_writer"], {}),
    ("empad", empad, [], {}),
    ("blockfile", blo, ["file_writer"], {"missing": "fill"}),
    ("tvips", tvips, ["file_writer"], {"missing": "raise"}),
    ("digitalmicrograph", dm, [], {}),
    ("tia", ser, [], {}),
    ("mrc", mrc, [], {}),
]

#: The conventions of the tests that run now.
now = ""
#: Conventions -> module of RosettaSciIO -> how often our reader was called.
calls: dict[str, dict[str, int]] = {conventions: {} for conventions in CONVENTIONS}
#: Conventions -> test file -> test -> outcome.
outcomes: dict[str, dict[str, dict[str, str]]] = {conventions: {} for conventions in CONVENTIONS}


def _upstream(name: str) -> ModuleType:
    """Load RosettaSciIO's implementation under a name that the tests do not import."""
    path = Path(rsciio.__file__).parent / name / "_api.py"
    spec = importlib.util.spec_from_file_location(f"rsciio._upstream_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _counted(reader: Any, name: str, asked: dict[str, Any]) -> Any:
    """Make a reader that takes its tests' conventions into account; `asked` gets theirs."""

    @functools.wraps(reader)
    def file_reader(*args: Any, **options: Any) -> Any:
        calls[now][name] = calls[now].get(name, 0) + 1
        if now == "ours":
            return reader(*args, **options)
        if name == "mrc" and "mmap_mode" in options:
            warnings.warn("deprecated in RosettaSciIO", VisibleDeprecationWarning, stacklevel=2)
        signals = reader(*args, **asked, **options)
        for signal in signals:
            frame = options["chunks"][-2:] if isinstance(options.get("chunks"), tuple) else None
            if name == "mrc" and "scan_file" in options and frame not in (None, (-1, -1)):
                raise ValueError("RosettaSciIO demands whole frames in chunks of such scans")
            if name == "digitalmicrograph" and options.get("lazy") and signal["data"].dtype.names:
                raise ValueError("RosettaSciIO's tests demand that colours cannot be loaded lazily")
            # what we add tells apart two files with the same content
            signal["original_metadata"].pop("rsciio_tem", None)  # not where it is handed over
        return signals

    return file_reader


def _writer(ours: Any, theirs: Any) -> Any:
    """Choose the writer of blockfiles, and of lazy arrays.

    RosettaSciIO's tests write a blockfile whose header announces more positions than it has frames,
    which our writer refuses, and demand that lazy arrays cannot be saved as .npy, which ours can;
    so their writer is asked where every test must pass.
    """

    @functools.wraps(ours)
    def file_writer(filename: Any, signal: Any, *args: Any, **options: Any) -> Any:
        left = ours is blo.file_writer or not isinstance(signal["data"], np.ndarray)
        return (theirs if left and now != "ours" else ours)(filename, signal, *args, **options)

    return file_writer


def pytest_configure() -> None:
    for name, ours, served, asked in FORMATS:
        upstream = _upstream(name)
        if name == "digitalmicrograph":  # what is handed over must not come back to us
            dm.rosettasciio.reader = functools.partial(_upstream, name)
        facade = ModuleType(f"rsciio.{name}")
        facade.__dict__.update({k: v for k, v in vars(upstream).items() if not k.startswith("__")})
        for attribute in served:
            setattr(facade, attribute, getattr(ours, attribute))
        if name in ("blockfile", "numpy"):
            writer = _writer(ours.file_writer, upstream.file_writer)
            facade.file_writer = writer  # type: ignore[attr-defined]
        facade.file_reader = _counted(ours.file_reader, name, asked)  # type: ignore[attr-defined]
        facade._api = facade  # type: ignore[attr-defined]
        facade.__path__ = []
        facade.__spec__ = importlib.util.spec_from_loader(facade.__name__, loader=None)
        sys.modules[f"rsciio.{name}"] = facade
        sys.modules[f"rsciio.{name}._api"] = facade
        setattr(rsciio, name, facade)
        for plugin in rsciio.IO_PLUGINS:
            if plugin["api"] in (f"rsciio.{name}", ours.__name__):
                plugin["api"] = f"rsciio.{name}"


@pytest.fixture(scope="session", autouse=True)
def conventions(request: pytest.FixtureRequest) -> None:
    """Say which conventions hold from now on; tests are sorted by them."""
    global now
    now = request.param


@pytest.hookimpl(tryfirst=True)  # so that the conventions come first in the names of tests
def pytest_collection_finish() -> None:
    """Spare the many collections of garbage that RosettaSciIO's tests make what was imported."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("conventions", CONVENTIONS, indirect=True, scope="session")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    file, _, test = report.nodeid.partition("::")
    name, _, parameters = test.partition("[")
    conventions, _, others = parameters.removesuffix("]").partition("-")
    test = f"{name}[{others}]" if others else name
    outcome: str = report.outcome
    if hasattr(report, "wasxfail"):
        outcome = "xfailed" if report.skipped else "xpassed"
    of_file = outcomes[conventions].setdefault(file, {})
    if report.when == "call" or outcome != "passed":
        of_file[test] = outcome


def pytest_sessionfinish() -> None:
    result = {"calls": calls, "outcomes": outcomes}
    Path(os.environ["RSCIIO_TEM_CONFORMANCE"]).write_text(json.dumps(result), encoding="utf-8")
