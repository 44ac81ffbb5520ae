# SPDX-License-Identifier: GPL-3.0-or-later
"""The formats, and how files are recognised.

`FORMATS` has one row for each of our formats; contents are tried in the order of the rows.
Programs that load only this file generate the tables of the documentation and the entry points of
the package from the rows: it imports only the standard library.

`every_format` adds the formats that other packages provide, as entry points of the group `GROUP`.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

__all__ = [
    "BY_CONTENT",
    "CONTESTED",
    "FORMATS",
    "GROUP",
    "SHARED",
    "Candidate",
    "Format",
    "candidates",
    "every_format",
    "formats",
    "listed_by_us",
    "row_of",
    "third_party",
]

_logger = logging.getLogger(__name__)

#: Entry points of other packages; each stands for a `Format`, or a function that returns one.
GROUP = "rsciio_tem.formats"


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
        Suffixes of its files, in lower case, without the dot.
    module : str
        Module that holds the reader; by default ``rsciio_tem.formats.<name>``.
    files : str
        Which files it reads: a line of Markdown for the tables of the documentation.
    owned_by : str
        RosettaSciIO's module that also claims the suffixes, if any. For our formats only.
    takeover : bool
        Whether ``hs.load`` uses this reader instead of RosettaSciIO's by default. For our formats
        only.
    writes : tuple of str
        Suffixes of the files that ``convert`` writes in this format.
    folder : bool
        Whether a recording is a folder, opened by its name.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    module: str = ""
    files: str = ""
    owned_by: str = ""
    takeover: bool = False
    writes: tuple[str, ...] = ()
    folder: bool = False

    def __post_init__(self) -> None:
        if not self.module:
            object.__setattr__(self, "module", f"rsciio_tem.formats.{self.name}")


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format(
            "mib",
            "Merlin / MerlinEM (Quantum Detectors), processed and RAW",
            ("mib", "hdr"),
            files=(
                "Merlin and MerlinEM of Quantum Detectors (Medipix3) `.mib`, `.hdr`: 1, 6, 12 and "
                "24 bit, processed and RAW, several chips, numbered sets"
            ),
            owned_by="rsciio.quantumdetector",
            takeover=True,
        ),
        Format(
            "npy",
            "NumPy arrays (.npy, uncompressed .npz in place)",
            ("npy", "npz", "ndata1", "ndata"),
            files="NumPy `.npy`, `.npz`, Nion Swift `.ndata1`",
            owned_by="rsciio.numpy",
            takeover=True,
            writes=("npy",),
        ),
        Format(
            "empad",
            "EMPAD and EMPAD-G2 (.xml with .raw)",
            ("xml", "raw"),
            files="EMPAD and EMPAD-G2 detectors `.xml` with `.raw`",
            owned_by="rsciio.empad",
            takeover=True,
        ),
        Format(
            "tvips",
            "TVIPS movies and 4D-STEM series",
            ("tvips",),
            files=(
                "TVIPS `.tvips`, versions 1 and 2, series, scans placed by the counters of "
                "the camera"
            ),
            owned_by="rsciio.tvips",
            takeover=True,
            writes=("tvips",),
        ),
        Format(
            "blo",
            "NanoMegas ASTAR blockfiles, 8 and 16 bit",
            ("blo",),
            files="NanoMegas ASTAR and DigiSTAR blockfiles `.blo`, 8 and 16 bit",
            owned_by="rsciio.blockfile",
            takeover=True,
            writes=("blo",),
        ),
        Format(
            "ser",
            "TIA series (.ser) with their descriptions (.emi): images, maps, spectra",
            ("ser", "emi"),
            files=(
                "TIA, the software of FEI microscopes, `.ser` with `.emi`: images, maps, spectra, "
                "all types of pixels, interrupted series"
            ),
            owned_by="rsciio.tia",
            takeover=True,
        ),
        Format(
            "dm",
            "Gatan DigitalMicrograph (DM3, DM4): images, stacks, 4D-STEM",
            ("dm3", "dm4", "dm"),
            files=(
                "Gatan DigitalMicrograph (GMS) `.dm3`, `.dm4`: images, stacks, series of files, "
                "4D-STEM in either order; spectra go to RosettaSciIO"
            ),
            owned_by="rsciio.digitalmicrograph",
            takeover=True,
        ),
        Format(
            "k2is",
            "Gatan K2 IS, eight sectors of 12-bit blocks",
            ("gtg", "bin"),
            files=(
                "Gatan K2 IS `.gtg` with `1.bin` … `8.bin`, short and incomplete recordings too"
            ),
        ),
        Format(
            "mrc",
            "MRC image stacks and volumes, among them Direct Electron movies",
            ("mrc", "mrcs", "st", "ali", "rec", "map"),
            files=(
                "MRC `.mrc`, `.mrcs`, `.st`, `.ali`, `.rec`, `.map` of microscopes, Velox, IMOD, "
                "SerialEM: all modes, FEI's extended headers, Direct Electron movies with scan "
                "positions and virtual images"
            ),
            owned_by="rsciio.mrc",
            takeover=True,
            writes=("mrc",),
        ),
        Format(
            "seq",
            "StreamPix sequences (Norpix), among them Direct Electron DE-16 and Celeritas",
            ("seq",),
            files=(
                "StreamPix (Norpix) `.seq`, among them Direct Electron DE-16 and Celeritas: "
                "halves joined, dark, gain and defective pixels applied"
            ),
        ),
        Format(
            "frms6",
            "pnCCD recordings (.frms6 with .hdr)",
            ("frms6", "hdr"),
            files=(
                "pnCCD cameras (PNDetector, pnSensor) `.frms6` with `.hdr`: halves joined, "
                "binned rows and windows, dark frames and gain map applied"
            ),
        ),
        Format(
            "dectris",
            "Dectris recordings (ARINA, EIGER, ...): master with its data files",
            ("h5",),
            files=(
                "Dectris ARINA, QUADRO, SINGLA, EIGER: `_master.h5` with its data files, scan "
                "shape from the file beside it, masked pixels"
            ),
            owned_by="rsciio.arina",
        ),
        Format(
            "hdf5",
            "HDF5: any data set; EMD, py4DSTEM, Velox series, NeXus, DM5, image series",
            ("h5", "hdf5", "emd", "nxs", "de5", "dm5", "he5"),
            files=(
                "HDF5: any data set by its path; EMD, py4DSTEM old and new, Velox series, "
                "NeXus, DM5, hexrd images"
            ),
            owned_by="rsciio.emd",
            writes=("h5", "hdf5", "emd"),
        ),
        Format(
            "eigerstream",
            "Captures of an Eiger's data stream in HDF5 (CHESS, hexrd)",
            ("h5",),
            files=("stream captures of a Dectris EIGER2 in HDF5 (CHESS, hexrd), versions 1 and 2"),
            owned_by="rsciio.arina",
        ),
        Format(
            "stempy",
            "Counted electrons of stempy in HDF5, such as those of NCEM's 4D Camera",
            ("h5",),
            files=(
                "counted electrons that stempy writes in HDF5 (4D Camera of NCEM and others), "
                "versions 1 to 3, dense or as sparse arrays"
            ),
            owned_by="rsciio.arina",
            writes=("h5",),
        ),
        Format(
            "fourdcamera",
            "Raw sectors of the 4D Camera of NCEM",
            ("data",),
            files=(
                "raw files of the 4D Camera of NCEM `.data`: four modules put together, frames at "
                "the positions in their headers, versions 3 to 5"
            ),
        ),
        Format(
            "imagefiles",
            "Lists of images in YAML (hexrd): TIFF, and all that other readers know",
            ("yml", "yaml"),
            files="lists of images in YAML (hexrd): TIFF in place, and every other format",
        ),
        Format(
            "rawimage",
            "Raw images described in YAML (hexrd)",
            ("yml", "yaml"),
            files="raw images described in YAML (hexrd)",
        ),
        Format(
            "framecache",
            "Frame caches of hexrd: .npz, .fch5, .yml",
            ("npz", "fch5", "yml", "yaml"),
            files=(
                "frame caches of hexrd `.npz`, `.fch5`, `.yml`: rotation series above a "
                "threshold, with their angles"
            ),
            writes=("npz", "fch5", "yml"),
        ),
        Format(
            "raw_csr",
            "Sparse recordings of LiberTEM: TOML and three binary files",
            ("toml",),
            files=(
                "LiberTEM's sparse recordings `.toml` with three binary files: counted or "
                "event-based data, dense or as sparse arrays"
            ),
            writes=("toml",),
        ),
        Format(
            "tpx3",
            "Events of Timepix3 cameras (Amsterdam Scientific Instruments)",
            ("tpx3",),
            files=(
                "Timepix3 cameras of Amsterdam Scientific Instruments `.tpx3`: events cut into "
                "frames by triggers or dwell time, one or four chips, dense or as sparse arrays"
            ),
        ),
        Format(
            "zarr",
            "Zarr arrays, versions 2 and 3: folders",
            ("zarr",),
            files="Zarr arrays, versions 2 and 3: folders with `.zarray` or `zarr.json`",
            writes=("zarr",),
            folder=True,
        ),
        Format(
            "tiff",
            "TIFF stacks that convert wrote: hyperstacks of ImageJ, plain and BigTIFF",
            (),
            files=(
                "TIFF stacks that `convert` wrote, and other grey ones on demand; all others go to "
                "RosettaSciIO"
            ),
            writes=("tif", "tiff"),
        ),
        Format(
            "raw",
            "Raw binary frames, described by keywords or a side file",
            ("raw", "bin"),
            files=(
                "raw binary frames in `.raw`, `.bin` or any other file, with or without a side file"
            ),
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

#: Suffixes that RosettaSciIO's readers keep, but for files that they do not read well: the format
#: of ours that says which these are, in its module ``takeover``, and RosettaSciIO's reader.
BY_CONTENT = {"emd": ("hdf5", "rsciio.emd"), "nxs": ("hdf5", "rsciio.nexus")}


# ---------------------------------------------------------------- formats of other packages

_third_party: dict[str, Format] | None = None
_reading = threading.RLock()


def third_party() -> Mapping[str, Format]:
    """Return the formats of other packages by their names.

    The first call finds them and imports their modules. Broken ones are left out, with a warning
    in the log.
    """
    global _third_party
    with _reading:
        if _third_party is None:
            _third_party = {}  # all that a package sees which asks while it is imported
            _third_party = _read_third_party()
        return _third_party


def every_format() -> dict[str, Format]:
    """Return all formats by their names: ours first, then those of other packages."""
    return {**FORMATS, **third_party()}


def row_of(name: str) -> Format | None:
    """Return a format's row, if there is one; only a name that is none of ours is looked for."""
    return FORMATS.get(name) or third_party().get(name)


def formats() -> list[Format]:
    """List the formats."""
    return list(every_format().values())


def _read_third_party() -> dict[str, Format]:
    from importlib.metadata import entry_points

    result: dict[str, Format] = {}
    try:
        entries = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    except Exception as error:  # what some package says of itself is damaged
        _logger.warning("formats of other packages are left out: %r", error)
        return result
    for entry in entries:
        try:
            row = _checked(entry.load())
            if row.name in result:
                raise ValueError(f"the name {row.name!r} is taken by {result[row.name].module}")
        except (Exception, SystemExit) as error:  # whatever a package does when it is imported
            package = entry.dist.name if entry.dist else "another package"
            _logger.warning(
                "the format %r of %s is left out: %s = %s: %s: %s",
                *(entry.name, package, entry.name, entry.value, type(error).__name__, error),
            )
        else:
            result[row.name] = row
    return result


def _checked(row: Any) -> Format:
    """Return the row that an entry point stands for; an error says what is wrong with it."""
    from importlib.util import find_spec

    if callable(row):
        row = row()
    if not isinstance(row, Format):
        raise TypeError(f"{row!r:.80} is not a {__name__}.Format")
    if not isinstance(row.name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", row.name):
        raise ValueError(f"the name {row.name!r} is not made of lower-case letters, digits and _")
    package = __name__.partition(".")[0]  # whose attributes the formats are
    public = (*FORMATS, "auto", *sys.modules[package].__all__)
    if row.name in public or find_spec(f"{package}.{row.name}"):
        raise ValueError(f"the name {row.name!r} is taken by {package}")
    for texts in (row.suffixes, row.writes):
        if not isinstance(texts, tuple) or any(
            not isinstance(text, str) or text != text.lower().strip(". ") for text in texts
        ):
            raise TypeError(f"{texts!r} is not a tuple of lower-case suffixes without dots")
    module = importlib.import_module(row.module)
    functions = ("sniff", "parse", "file_reader", *(("target",) if row.writes else ()))
    if lacking := [name for name in functions if not callable(getattr(module, name, None))]:
        raise AttributeError(f"the module {row.module} has no function {', '.join(lacking)}")
    return row


# ---------------------------------------------------------------- recognising files


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
    verdicts: list[Candidate] = []
    folder = os.path.isdir(path)
    for row in every_format().values():
        # a recording that is a folder may also be named by a file in it
        if (row.folder or not folder) and (candidate := _asked(row, path, head)) is not None:
            verdicts.append(candidate)
    if not folder and not any(candidate.confidence >= 0.5 for candidate in verdicts):
        verdicts += _upstream(path)
    return sorted(verdicts, key=lambda c: -c.confidence)


#: Formats of other packages whose `sniff` fails, of which the log has told.
_failing: set[str] = set()


@functools.cache
def _module_of(name: str) -> ModuleType:
    """Import a module of ours; to ask for two dozen of them again takes a tenth of a ms."""
    return importlib.import_module(name)


def _asked(row: Format, path: str, head: bytes) -> Candidate | None:
    """Ask a format about a file; one of another package never breaks it for the others."""
    try:
        ours = FORMATS.get(row.name) is row
        module = _module_of(row.module) if ours else importlib.import_module(row.module)
        verdict = module.sniff(path, head)
        if verdict is None:
            return None
        candidate = Candidate(row.name, *verdict)
        if not (0 <= candidate.confidence <= 1 and isinstance(candidate.reason, str)):
            raise TypeError(f"{verdict!r:.80} is not (confidence, reason, options)")
        return replace(candidate, options=dict(candidate.options))
    except (OSError, ValueError):  # FormatError included: this format cannot make sense of it
        _logger.debug("%s does not recognise %s", row.name, path, exc_info=True)
    except Exception as error:
        if row.name in FORMATS:
            raise
        if row.name not in _failing:
            _failing.add(row.name)
            _logger.warning(
                "%s.sniff(%r, ...) failed: %s: %s", row.module, path, type(error).__name__, error
            )
    return None


def listed_by_us(plugin: Mapping[str, Any]) -> bool:
    """Whether a row of RosettaSciIO's list is one that we added."""
    return str(plugin.get("name", "")).startswith("TEM-")


def _upstream(path: str) -> list[Candidate]:
    """List RosettaSciIO's readers for the suffix of a file, without those that ours replace."""
    from rsciio import IO_PLUGINS

    suffix = os.path.splitext(path)[1].lstrip(".").lower()
    preferred = CONTESTED.get(suffix, ("", ""))[1]
    ours = {row.owned_by for row in FORMATS.values()}
    theirs = [p for p in IO_PLUGINS if not listed_by_us(p) and p["api"] not in ours]
    named = [p for p in theirs if suffix in [n.lower() for n in (p["name"], *p["name_aliases"])]]
    listed = named or [p for p in theirs if suffix and suffix in p["file_extensions"]]
    return [
        Candidate(
            str(plugin["api"]),
            0.4 if len(listed) == 1 or plugin["api"] == preferred else 0.3,
            f"RosettaSciIO's reader {plugin['name']!r} is for .{suffix}",
        )
        for plugin in listed
    ]
