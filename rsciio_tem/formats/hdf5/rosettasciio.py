# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a reader of RosettaSciIO is for, and handing them over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rsciio_tem import readers
from rsciio_tem.errors import FormatError, Unsupported
from rsciio_tem.formats.hdf5.velox import is_series, is_velox
from rsciio_tem.parsing.hdf5_links import children, member
from rsciio_tem.parsing.hdf5_values import attribute, has_attribute, names_in, text


def _is_usid(file: Any) -> bool:
    first = next((group for name, group in children(file) if name.startswith("Measurement_")), None)
    channels = [channel for _, channel in children(first)]
    return any(member(group, "Position_Indices") is not None for group in (first, *channels))


def _of_hyperspy(file: Any) -> bool:
    """Whether an EMD file was written by HyperSpy, which transposes what it writes."""
    signals = member(file, "signals")
    marks = ("record_by", "signal_type")
    return has_attribute(signals, "emd_group_type") or any(
        has_attribute(group, mark) for _, group in children(signals) for mark in marks
    )


def _of_old_hyperspy(file: Any) -> bool:
    """Whether a file is of HyperSpy before 0.7, which did not say so at the root."""
    return any(
        member(group, "axis-0") is not None
        and any(member(group, name) is not None for name in ("mapped_parameters", "metadata"))
        for _, group in children(member(file, "Experiments"))
    )


#: What a file is, the reader of RosettaSciIO for it, what the name of something in it begins with,
#: and how it is recognised.
READERS: tuple[tuple[str, str, str, Callable[[Any], bool]], ...] = (
    (
        "a HyperSpy file",
        "rsciio.hspy",
        "",
        lambda f: text(attribute(f, "file_format")).lower() == "hyperspy",
    ),
    ("a HyperSpy file", "rsciio.hspy", "Experiments", _of_old_hyperspy),
    (
        "a NeXus file written by RosettaSciIO",
        "rsciio.nexus",
        "",
        lambda f: text(attribute(f, "file_writer")).startswith("hyperspy_nexus"),
    ),
    (
        "a Velox file of spectra, single images or several detectors",
        "rsciio.emd",
        "Version",
        lambda f: is_velox(f) and not is_series(f),
    ),
    ("an EMD file written by HyperSpy", "rsciio.emd", "signals", _of_hyperspy),
    (
        "a Prismatic simulation",
        "rsciio.emd",
        "4DSTEM_simulation",
        lambda f: "4DSTEM_simulation" in f,
    ),
    ("a USID file", "rsciio.usid", "Measurement_", _is_usid),
    (
        "an Odemis file of Delmic",
        "rsciio.delmic",
        "Acquisition",
        lambda f: any(
            name.startswith("Acquisition") and member(group, "SVIData") is not None
            for name, group in children(f)
        ),
    ),
    (
        "a TofDAQ file of Tofwerk",
        "rsciio.tofwerk",
        "FullSpectra",
        lambda f: "FullSpectra" in f and "TimingData" in f,
    ),
)


class HandedOver(Unsupported):
    """A file that a reader of RosettaSciIO is for."""

    what = reader = ""

    @classmethod
    def of(cls, path: str, what: str, reader: str) -> HandedOver:
        """Say what a file is, and which reader is for it."""
        error = cls(
            path,
            f"is {what}, which RosettaSciIO's reader {reader} is for.",
            "rsciio_tem.load hands it over. dataset= reads any one array in it.",
        )
        error.what, error.reader = what, reader
        return error

    def read(self, lazy: bool, options: dict[str, Any]) -> list[dict[str, Any]]:
        """Let RosettaSciIO read the file."""
        return readers.hand_over(
            *(self.reader, self.path, lazy, options),
            what=self.what,
            hint="dataset= reads any one array in it.",
            error=FormatError,
        )


def hand_over(file: Any, path: str) -> None:
    """Raise if a file is not for us."""
    names = [name for name in names_in(file) if isinstance(name, str)]
    for what, reader, begins, is_it in READERS:
        if begins and not any(name.startswith(begins) for name in names):
            continue
        if is_it(file):
            raise HandedOver.of(path, what, reader)
