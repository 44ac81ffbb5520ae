# SPDX-License-Identifier: GPL-3.0-or-later
"""The formats, and how files are recognised.

`FORMATS` has one row per format; its order is the order in which contents are tried.
"""

from __future__ import annotations

import importlib
import logging
import os
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CONTESTED",
    "FORMATS",
    "SHARED",
    "Candidate",
    "Format",
    "candidates",
    "formats",
]

_logger = logging.getLogger(__name__)

_PREFIX = "rsciio_tem."


@dataclass(frozen=True)
class Format:
    """One row of the registry.

    Parameters
    ----------
    name : str
        As in ``rsciio_tem.<name>`` and ``format="<name>"``.
    description : str
        One line for people.
    suffixes : tuple of str
        Of its files, lower case, without dot.
    owned_by : str
        RosettaSciIO's module that also claims the suffixes, if there is one.
    takeover : bool
        Whether ``hs.load`` uses this reader instead of RosettaSciIO's unless told otherwise.
    writes : tuple of str
        Suffixes of the files that ``convert`` makes in this format.
    folder : bool
        Whether a recording is a folder, opened by its name.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    owned_by: str = ""
    takeover: bool = False
    writes: tuple[str, ...] = ()
    folder: bool = False

    @property
    def module(self) -> str:
        """Module that holds the reader."""
        return f"rsciio_tem.formats.{self.name}"


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            "mib",
            "Merlin / MerlinEM (Quantum Detectors), processed and RAW",
            ("mib", "hdr"),
            owned_by="rsciio.quantumdetector",
            takeover=True,
        ),
        Format(
            "npy",
            "NumPy arrays (.npy, uncompressed .npz in place)",
            ("npy", "npz"),
            owned_by="rsciio.numpy",
            takeover=True,
            writes=("npy",),
        ),
        Format(
            "empad",
            "EMPAD and EMPAD-G2 (.xml with .raw)",
            ("xml", "raw"),
            owned_by="rsciio.empad",
            takeover=True,
        ),
        Format(
            "tvips",
            "TVIPS movies and 4D-STEM series",
            ("tvips",),
            owned_by="rsciio.tvips",
            takeover=True,
            writes=("tvips",),
        ),
        Format(
            "blo",
            "NanoMegas ASTAR blockfiles, 8 and 16 bit",
            ("blo",),
            owned_by="rsciio.blockfile",
            takeover=True,
            writes=("blo",),
        ),
        Format(
            "ser",
            "TIA series (.ser) with their descriptions (.emi): images, maps, spectra",
            ("ser", "emi"),
            owned_by="rsciio.tia",
            takeover=True,
        ),
        Format(
            "dm",
            "Gatan DigitalMicrograph (DM3, DM4): images, stacks, 4D-STEM",
            ("dm3", "dm4", "dm"),
            owned_by="rsciio.digitalmicrograph",
            takeover=True,
        ),
        Format("k2is", "Gatan K2 IS, eight sectors of 12-bit blocks", ("gtg", "bin")),
        Format(
            "mrc",
            "MRC image stacks and volumes, among them Direct Electron movies",
            ("mrc", "mrcs", "st", "ali", "rec", "map"),
            owned_by="rsciio.mrc",
            takeover=True,
            writes=("mrc",),
        ),
        Format(
            "seq",
            "StreamPix sequences (Norpix), among them Direct Electron DE-16 and Celeritas",
            ("seq",),
        ),
        Format("frms6", "pnCCD recordings (.frms6 with .hdr)", ("frms6", "hdr")),
        Format(
            "dectris",
            "Dectris recordings (ARINA, EIGER, ...): master with its data files",
            ("h5",),
            owned_by="rsciio.arina",
        ),
        Format(
            "hdf5",
            "HDF5: any data set; EMD, py4DSTEM, Velox series, NeXus, DM5, image series",
            ("h5", "hdf5", "emd", "nxs", "de5", "dm5", "he5"),
            owned_by="rsciio.emd",
            writes=("h5", "hdf5", "emd"),
        ),
        Format(
            "eigerstream",
            "Captures of an Eiger's data stream in HDF5 (CHESS, hexrd)",
            ("h5",),
            owned_by="rsciio.arina",
        ),
        Format(
            "imagefiles",
            "Lists of images in YAML (hexrd): TIFF, and all that other readers know",
            ("yml", "yaml"),
        ),
        Format("rawimage", "Raw images described in YAML (hexrd)", ("yml", "yaml")),
        Format(
            "framecache",
            "Frame caches of hexrd: .npz, .fch5, .yml",
            ("npz", "fch5", "yml", "yaml"),
            writes=("npz", "fch5", "yml"),
        ),
        Format(
            "raw_csr",
            "Sparse recordings of LiberTEM: TOML and three binary files",
            ("toml",),
            writes=("toml",),
        ),
        Format(
            "zarr",
            "Zarr arrays, versions 2 and 3: folders",
            ("zarr",),
            writes=("zarr",),
            folder=True,
        ),
        Format(
            "raw",
            "Raw binary frames, described by keywords or a side file",
            ("raw", "bin"),
            writes=("raw",),
        ),
    )
}

#: Suffixes that several formats use; one dispatcher looks at the content.
SHARED = ("hdr", "raw", "bin", "npz", "yml", "yaml", "toml")

#: Suffixes that several readers of RosettaSciIO claim, so that ``hs.load`` alone cannot choose: the
#: format of ours that shares them, and the reader that gets what is not ours; none if our format
#: itself hands on what it does not read.
CONTESTED = {
    "xml": ("empad", "rsciio.jobinyvon"),
    "map": ("mrc", "rsciio.jeol"),
    "h5": ("hdf5", ""),
    "hdf5": ("hdf5", ""),
}


@dataclass(frozen=True)
class Candidate:
    """A format that a file may have.

    Parameters
    ----------
    format : str
        Name of the format.
    confidence : float
        0 to 1.
    reason : str
        What was seen.
    options : dict
        Keywords to pass to its reader.
    """

    format: str
    confidence: float
    reason: str
    options: dict[str, Any] = field(default_factory=dict)


def candidates(path: str, head: bytes) -> list[Candidate]:
    """Ask every format about a file that begins with `head`, or a folder; most credible first.

    If none is credible, RosettaSciIO's readers for the suffix are listed too.
    """
    found: list[Candidate] = []
    folder = os.path.isdir(path)
    for row in FORMATS.values():
        if row.folder != folder:
            continue
        try:
            verdict = importlib.import_module(row.module).sniff(path, head)
        except (OSError, ValueError):  # FormatError included: this format cannot make sense of it
            _logger.debug("%s does not recognise %s", row.name, path, exc_info=True)
            continue
        if verdict is not None:
            found.append(Candidate(row.name, *verdict))
    if not folder and not any(candidate.confidence >= 0.5 for candidate in found):
        found += _upstream(path)
    return sorted(found, key=lambda c: -c.confidence)


def _upstream(path: str) -> list[Candidate]:
    """List RosettaSciIO's readers for the suffix of a file, without those that ours replace."""
    from rsciio import IO_PLUGINS

    suffix = os.path.splitext(path)[1].lstrip(".").lower()
    preferred = CONTESTED.get(suffix, ("", ""))[1]
    ours = {row.owned_by for row in FORMATS.values()}
    others = [
        p for p in IO_PLUGINS if not str(p["api"]).startswith(_PREFIX) and p["api"] not in ours
    ]
    named = [p for p in others if suffix in [n.lower() for n in (p["name"], *p["name_aliases"])]]
    listed = named or [p for p in others if suffix and suffix in p["file_extensions"]]
    return [
        Candidate(
            str(plugin["api"]),
            0.4 if len(listed) == 1 or plugin["api"] == preferred else 0.3,
            f"RosettaSciIO's reader {plugin['name']!r} is for .{suffix}",
        )
        for plugin in listed
    ]


def formats() -> list[Format]:
    """List the formats."""
    return list(FORMATS.values())
