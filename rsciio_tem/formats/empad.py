# SPDX-License-Identifier: GPL-3.0-or-later
"""EMPAD recordings (Electron Microscope Pixel Array Detector): first and second generation.

Sources: RosettaSciIO's and LiberTEM's descriptions and sample files for the first generation; for
the second (EMPAD-G2) the published processing codes of two groups, which agree in the bit fields.
``specifications/empad.ksy`` and ``specifications/empad_xml.md`` write the layouts down.

A recording is an .xml that names a .raw. The .raw has no header. First generation: frames of
130 x 128 floats, of which the last two rows are not pixels. Second generation, as acquired:
128 x 128 words of 32 bits that still have to be converted with the detector's calibration;
exported: 128 x 128 floats.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends, files, headers
from rsciio_tem.backends import Backend, DataFile
from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated, Unsupported
from rsciio_tem.frames import FrameIndex, Frames, FrameTable, Transformed, Wrapped, runs_of
from rsciio_tem.pixels import Pixels, Region, full_region
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint

__all__ = ["Calibration", "file_reader", "parse", "sniff"]

EDGE = 128  # pixels along the edge of the detector
FOOTER_ROWS = 2  # rows behind the pixels of a first-generation frame
FRAME_G1 = (EDGE + FOOTER_ROWS) * EDGE * 4
FRAME_G2 = EDGE * EDGE * 4
#: Floats 140..143 of the 256 in the footer: scan counters of a frame (a single source).
COUNTERS = 140

#: Fields of a second-generation word.
ANALOG, DIGITAL, MARKER, GAIN = 0x3FFF, 14, 1 << 30, 31

#: Per-pixel maps of the conversion of second-generation words, each for even (A) and odd (B)
#: frames. Linear: a(1-g) + G1 (a - B2) g + G2 d. Quadratic: a(1-g) + Ml a g + alpha (a g)^2
#: + Md d + Oh g - Ot.
LINEAR = ("G1", "G2", "B2")
QUADRATIC = ("Ml", "alpha", "Md", "Oh", "Ot")


# ---------------------------------------------------------------- second-generation words


@dataclass(frozen=True, eq=False)
class Calibration:
    """Conversion of second-generation words to electrons, for even and odd frames.

    Parameters
    ----------
    maps : dict of ndarray, shape (2, 128, 128)
        The maps of `LINEAR` or of `QUADRATIC`.
    flat : ndarray, shape (2, 128, 128), optional
        Multiplied last.
    dark : ndarray, shape (2, 128, 128), optional
        Mean of converted dark frames, subtracted.
    debounce : bool
        Shift each frame so that the peak of its histogram around zero lies at zero.
    """

    maps: Mapping[str, npt.NDArray[Any]]
    flat: npt.NDArray[Any] | None = None
    dark: npt.NDArray[Any] | None = None
    debounce: bool = True

    @property
    def quadratic(self) -> bool:
        """Which of the two conversions it is."""
        return "Ml" in self.maps

    def convert(
        self, words: npt.NDArray[np.uint32], odd: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Convert whole frames of words; ``odd`` is 0 for even, 1 for odd stored frames."""
        analog = (words & ANALOG).astype(np.float32)
        digital = ((words >> DIGITAL) & 0xFFFF).astype(np.float32)
        high = (words >> GAIN).astype(np.float32)
        m = {name: np.asarray(image, np.float32)[odd] for name, image in self.maps.items()}
        values = analog * (1 - high)
        if self.quadratic:
            shown = analog * high
            values += m["Ml"] * shown + m["alpha"] * shown**2 + m["Md"] * digital
            values += m["Oh"] * high - m["Ot"]
        else:
            values += m["G1"] * (analog - m["B2"]) * high + m["G2"] * digital
        if self.dark is not None:
            values -= np.asarray(self.dark, np.float32)[odd]
        if self.debounce:
            for frame in values:
                frame -= _histogram_peak(frame)
        if self.flat is not None:
            values *= np.asarray(self.flat, np.float32)[odd]
        return values


def _histogram_peak(frame: npt.NDArray[np.float32]) -> float:
    """Return where the histogram of a frame peaks near zero, 0 for too few counts there."""
    edges = np.arange(-205, 216, 10)
    counts, _ = np.histogram(frame, edges)
    centres = edges[:-1] + 5.0
    top = int(np.argmax(counts))
    if counts[top] <= 40:
        return 0.0
    reach = 3 if 3 <= top < len(counts) - 3 else 5
    near = slice(max(0, top - reach), top + reach + 1)
    a, b, _ = np.polyfit(centres[near], counts[near], 2)
    if a >= 0:  # no peak: the counts rise to the side
        return float(centres[top])
    return float(np.clip(-b / (2 * a), centres[near][0], centres[near][-1]))


@dataclass(frozen=True, eq=False)
class ConvertedFrames(Wrapped):
    """Second-generation frames, converted while they are loaded.

    Parameters
    ----------
    odd : ndarray of int64
        Parity of each frame's place in the file.
    calibration : Calibration
    fill : float
        Value of blanks.
    """

    odd: npt.NDArray[np.int64]
    calibration: Calibration
    fill: float = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return np.dtype(np.float32)

    def __getitem__(self, index: FrameIndex, /) -> ConvertedFrames:
        return replace(self, frames=self.frames[index], odd=self.odd[index])

    def configured(
        self,
        *,
        backend: Backend = "auto",
        fill: float | None = None,
        flip_y: bool | None = None,
        native: bool = True,
        frame_shape: tuple[int, ...] | None = None,
    ) -> ConvertedFrames:
        """Return the same frames, read in another way; see `Frames`."""
        if flip_y is not None or frame_shape not in (None, self.frame_shape):
            raise Unsupported("", "converted frames can be neither flipped nor reshaped.")
        del native
        return replace(
            self,
            frames=self.frames.configured(backend=backend),
            fill=self.fill if fill is None else fill,
        )

    def load(self, out: npt.NDArray[Any], region: Region | None = None) -> None:
        """Fill ``out[i]`` with frame i, or with the given region of it."""
        region = region or full_region(self.frame_shape)
        step = 16
        words = np.empty((min(step, len(self)), *self.frame_shape), np.uint32)
        for first in range(0, len(self), step):
            part = self.frames[first : first + step]
            block = words[: len(part)]
            part.load(block)  # always whole: the histogram is that of a frame
            values = self.calibration.convert(block, self.odd[first : first + step])
            out[first : first + step] = values[(slice(None), *region)]
        if (blanks := self.blanks) is not None:
            out[blanks] = self.fill


def _calibration(given: Any, dark: Any, debounce: bool, path: str) -> Calibration | None:
    """Load a calibration set from a folder of .r32 files, a .npz, or a mapping of arrays."""
    if given is None:
        return None
    if isinstance(given, (str, os.PathLike)) and os.path.isdir(given):
        arrays = {
            name: np.stack([_r32(given, f"{name}{half}", path) for half in "AB"]) for name in LINEAR
        }
        flat = [_r32(given, f"FF{half}", path, optional=True) for half in "AB"]
        if all(f is not None for f in flat):
            arrays["FF"] = np.stack(flat)
    elif isinstance(given, (str, os.PathLike)):
        with np.load(files.existing(given), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    else:
        arrays = {str(name): np.asarray(image) for name, image in dict(given).items()}
    names = QUADRATIC if "Ml" in arrays else LINEAR
    for name in (*names, *(["FF"] if "FF" in arrays else [])):
        if name not in arrays:
            raise FormatError(path, f"the calibration has no map {name}; needed are {names}.")
        if arrays[name].shape != (2, EDGE, EDGE):
            raise FormatError(
                path,
                f"the calibration map {name} has shape {arrays[name].shape}.",
                "Needed is (2, 128, 128): for even and odd frames.",
            )
    calibration = Calibration(
        {name: arrays[name] for name in names}, flat=arrays.get("FF"), debounce=debounce
    )
    if dark is None:
        return calibration
    return replace(calibration, dark=_dark(dark, calibration))


def _r32(folder: Any, name: str, path: str, optional: bool = False) -> Any:
    """Read one 128 x 128 map of 32-bit floats."""
    for candidate in (f"{name}.r32", f"{name}_prelim.r32"):
        source = os.path.join(os.fspath(folder), candidate)
        if os.path.isfile(source):
            if os.path.getsize(source) != FRAME_G2:
                raise FormatError(source, f"is no map of 128 x 128 floats ({FRAME_G2} bytes).")
            return np.fromfile(source, "<f4").reshape(EDGE, EDGE)
    if optional:
        return None
    raise FormatError(path, f"the calibration folder {folder} has no {name}.r32.")


def _dark(dark: Any, calibration: Calibration) -> npt.NDArray[Any]:
    """Convert dark frames with the same chain and average those of equal parity."""
    name = files.existing(dark)
    file = DataFile.of(name)
    count = file.size // FRAME_G2
    if count < 2:
        raise FormatError(name, "holds fewer than the two dark frames that are needed.")
    table = FrameTable(
        (file,), runs_of([(0, 0, FRAME_G2, count)]), Pixels((EDGE, EDGE), np.dtype("<u4"))
    )
    plain = replace(calibration, dark=None, flat=None, debounce=False)
    total = np.zeros((2, EDGE, EDGE))
    words = np.empty((1, EDGE, EDGE), np.uint32)
    for i in range(count):
        table[i : i + 1].load(words)
        total[i % 2] += plain.convert(words, np.array([i % 2]))[0]
    mean: npt.NDArray[Any] = total / np.array([(count + 1) // 2, count // 2]).reshape(2, 1, 1)
    return mean


# ---------------------------------------------------------------- finding the files


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise the .xml by its elements, the .raw by its name or the .xml beside it."""
    if path.lower().endswith(".xml"):
        for mark in (b"camserver", b"<raw_file", b"<pix_x", b"EMPAD", b"<rawfile"):
            if mark in head:
                return 0.95, f"is an EMPAD description ({mark.decode().lstrip('<')})", {}
        return None
    if not path.lower().endswith(".raw"):
        return None
    size = os.path.getsize(path)
    if size % FRAME_G1 == 0 and re.search(r"(scan_x\d+_y\d+|series_x\d+)", os.path.basename(path)):
        return 0.9, "is named and sized like an EMPAD recording", {}
    if (xml := _xml_of(path)) is not None:
        return 0.95, f"is named in {os.path.basename(xml)}", {}
    return None


def _xml_of(raw: str) -> str | None:
    """Find the .xml beside a .raw that names it."""
    folder, base = os.path.split(raw)
    found: list[str] = []
    for entry in sorted(os.listdir(folder or "."))[:5000]:
        if entry.lower().endswith(".xml") and len(found) < 200:
            found.append(os.path.join(folder, entry))
    for xml in found:
        if base.encode() in files.read_start(xml, 1 << 14):
            return xml
    return None


def _raw_of(xml: str, named: str, problems: list[Problem]) -> str:
    """Find the .raw that an .xml names: by its name alone, whatever folder it once was in."""
    folder = os.path.dirname(xml)
    base = re.split(r"[/\\]", named.strip())[-1]
    candidates = [base, os.path.splitext(os.path.basename(xml))[0] + ".raw"]
    listing = {entry.lower(): entry for entry in os.listdir(folder or ".")}
    for i, candidate in enumerate(candidates):
        if candidate and (entry := listing.get(candidate.lower())):
            if i:
                problems.append(
                    Problem(
                        "warning",
                        f"{base!r}, which the .xml names, is not there; {entry} is read instead.",
                    )
                )
            return os.path.join(folder, entry)
    others = [entry for name, entry in listing.items() if name.endswith(".raw")]
    if len(others) == 1:
        problems.append(
            Problem(
                "warning",
                f"{base!r}, which the .xml names, is not there; "
                f"{others[0]}, the only .raw in the folder, is read instead.",
            )
        )
        return os.path.join(folder, others[0])
    raise FormatError(
        xml,
        f"names the data file {base!r}, which is not beside it"
        + (f" (there are {', '.join(sorted(others)[:5])})." if others else "."),
        "Put it there, or open the .raw itself.",
    )


# ---------------------------------------------------------------- description


def _number(tree: Mapping[str, Any], *path: str) -> float | None:
    value: Any = tree
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return headers.number(value)


def _whole(tree: Mapping[str, Any], *path: str) -> int:
    value = _number(tree, *path)
    return int(value) if value is not None and 0 < value < 1 << 31 else 0


def _shape_hints(tree: Mapping[str, Any], raw: str, count: int) -> list[ScanHint]:
    """List the scan shapes that description and file name give, the most credible first."""
    found: list[tuple[str, int, int]] = []

    def add(reason: str, columns: int, lines: int) -> None:
        if columns > 0 and lines > 0:
            found.append((reason, columns, lines))

    add("pix_x, pix_y", _whole(tree, "pix_x"), _whole(tree, "pix_y"))
    modes = tree.get("scan_parameters_list") or [tree.get("scan_parameters", {})]
    for wanted in ("acquire", "search"):
        for scan in modes:
            if isinstance(scan, Mapping) and scan.get("mode", "acquire") == wanted:
                size = (_whole(scan, "scan_resolution_x"), _whole(scan, "scan_resolution_y"))
                add(f"scan_resolution of the {wanted} mode", *size)
    shape = [int(n) for n in re.findall(r"\d+", str(_text(tree, "scan", "shape")))]
    if len(shape) == 2:  # second generation
        add("scan/shape", shape[1], shape[0])
    if name := re.search(r"scan_x(\d+)_y(\d+)", os.path.basename(raw)):
        add("the name of the data file", int(name[1]), int(name[2]))
    if str(tree.get("type", "")).strip() == "series" or "series_x" in os.path.basename(raw):
        return []
    exact = [f for f in found if f[1] * f[2] == count]
    more = sorted((f for f in found if f[1] * f[2] > count), key=lambda f: f[1] * f[2])
    less = [f for f in found if f[1] * f[2] < count]
    hints = []
    for i, (reason, columns, lines) in enumerate([*exact, *more, *less]):
        confidence = 0.95 if i < len(exact) else 0.7
        hints.append(
            ScanHint(
                "header",
                (lines, columns),
                confidence - 0.01 * i,
                f"{reason}: {columns} x {lines}"
                + ("" if i < len(exact) else f", though there are {count} frames"),
            )
        )
    return hints


def _text(tree: Mapping[str, Any], *path: str) -> Any:
    value: Any = tree
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _counters_hint(file: DataFile, count: int) -> list[ScanHint]:
    """Read the scan shape from the counters in the first and last frame, if they make sense."""
    values = []
    for i in (0, count - 1):
        start = i * FRAME_G1 + EDGE * EDGE * 4 + COUNTERS * 4
        values.append(np.frombuffer(bytes(backends.read(file, start, 16, "auto")), "<f4"))
    span = values[1] - values[0]
    if not np.isfinite(span).all() or (span[:2] < 0).any() or (span[:2] != span[:2].round()).any():
        return []
    a, b = (int(n) + 1 for n in span[:2])
    if a * b != count or a == 1 or b == 1:
        return []
    reason = "the scan counters behind the pixels (known from a single source)"
    return [ScanHint("header", (b, a), 0.6, f"{reason}: {a} x {b}")]


def _length(metres: float) -> tuple[float, str]:
    """Express a length in the unit that makes it a handy number."""
    for unit, size in (("nm", 1e-9), ("µm", 1e-6), ("mm", 1e-3)):
        if abs(metres) < 1000 * size:
            return metres / size, unit
    return metres, "m"


def _scan_axes(tree: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Calibrate the scan: field of view over the larger number of positions."""
    optics = _text(tree, "iom_measurements", "optics", "get_full_scan_field_of_view")
    view = [headers.number(n) for n in re.findall(r"[\d.eE+-]+", str(optics or ""))]
    factor = 1.0
    if not view:
        place = ("iom_measurements", "full_scan_field_of_view")
        view = [_number(tree, *place, "x"), _number(tree, *place, "y")]
        factor = _number(tree, *place, "scale_factor") or 1.0
    largest = max(shape, default=0)
    if len(view) < 2 or any(v is None or v <= 0 for v in view) or not largest:
        return (Axis("scan_y"), Axis("scan_x"))
    axes = []
    for name, width in (("scan_y", view[1]), ("scan_x", view[0])):
        assert width is not None
        scale, unit = _length(width / factor / largest)
        axes.append(Axis(name, unit, scale))
    return tuple(axes)


def _signal_axes(scale: float | None) -> tuple[Axis, Axis]:
    """Calibrate the detector with its centre at zero."""
    if scale is None:
        return (Axis("height", None, 1, -EDGE // 2), Axis("width", None, 1, -EDGE // 2))
    return tuple(  # type: ignore[return-value]
        Axis(name, "1/nm", scale, -EDGE // 2 * scale) for name in ("height", "width")
    )


def _metadata(tree: Mapping[str, Any], path: str, second: bool) -> dict[str, Any]:
    general: dict[str, Any] = {
        "title": os.path.splitext(os.path.basename(path))[0],
        "original_filename": os.path.basename(path),
    }
    stamp = str(_text(tree, "timestamp", "isoformat") or "")
    if match := re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d+)?)", stamp):
        general["date"], general["time"] = match[1], match[2]
    camera: dict[str, Any] = {"name": "EMPAD-G2" if second else "EMPAD"}
    milliseconds = _number(tree, "exposure_time")
    seconds = _number(tree, "scan", "exposure_time")
    exposure = milliseconds / 1000 if milliseconds is not None else seconds
    if exposure is not None:
        camera["exposure"] = exposure
    tem: dict[str, Any] = {"Detector": {"Camera": camera}}
    measured = ("iom_measurements",)
    voltage = _number(tree, *measured, "high_voltage")
    voltage = voltage or _number(tree, *measured, "source", "get_voltage")
    if voltage:
        tem["beam_energy"] = voltage / 1000
    length = _number(tree, *measured, "nominal_camera_length")
    length = length or _number(tree, *measured, "optics", "get_cameralength")
    if length:
        tem["camera_length"] = length * 1000
    return {
        "General": general,
        "Signal": {"signal_type": "electron_diffraction"},
        "Acquisition_instrument": {"TEM": tem},
    }


def parse(
    filename: str | os.PathLike[str],
    *,
    q_calibration: float | None = None,
    remove_nans: bool = False,
    keep_footer: bool = False,
    calibration: Any = None,
    dark_frames: Any = None,
    debounce: bool = True,
) -> Recording:
    """Describe an EMPAD recording; parameters as in `file_reader`.

    Returns
    -------
    Recording
    """
    asked = files.existing(filename)
    problems: list[Problem] = []
    tree: dict[str, Any] = {}
    xml: str | None = None
    raw = asked
    xml = _xml_of(asked) if asked.lower().endswith(".raw") else asked
    if xml is not None:
        tree = headers.xml_tree(xml)
    if xml == asked:
        named = _text(tree, "raw_file", "filename") or _text(tree, "rawfile", "filename")
        if not named:
            raise NotThisFormat(asked, "is no EMPAD description: it names no raw_file.")
        raw = _raw_of(asked, str(named), problems)
    file = DataFile.of(raw)
    second = str(_text(tree, "sensor", "type") or "").upper().startswith("EMPAD2")
    frame_bytes = FRAME_G2 if second else FRAME_G1
    count = file.size // frame_bytes
    if count < 1:
        raise Truncated(raw, f"has {file.size} bytes, one frame takes {frame_bytes}.")
    if rest := file.size % frame_bytes:
        problems.append(
            Problem("warning", f"{rest} bytes at the end are no complete frame, ignored.")
        )
    words = second and _holds_words(file, count, tree)
    shape = (EDGE + FOOTER_ROWS, EDGE) if keep_footer and not second else (EDGE, EDGE)
    frames: Frames = FrameTable(
        (file,),
        runs_of([(0, 0, frame_bytes, count)]),
        Pixels(shape, np.dtype("<u4" if words else "<f4")),
    )
    if words:
        chain = _calibration(calibration, dark_frames, debounce, raw)
        if chain is None:
            problems.append(
                Problem(
                    "warning",
                    "these are unconverted EMPAD-G2 words, not intensities.",
                    "Pass calibration= the folder with the detector's G1A.r32 … files.",
                )
            )
        else:
            frames = ConvertedFrames(frames, np.arange(count) % 2, chain)
    elif remove_nans:
        frames = Transformed(frames, _zero_nans)

    hints = _shape_hints(tree, raw, count)
    if not hints and not second and xml is None and count > 1:
        hints = _counters_hint(file, count)
    series = not hints
    scale = q_calibration
    if scale is None and (size := _number(tree, "iom_measurements", "calibrated_pixelsize")):
        scale = size * 1e9
    if series:
        step = _number(tree, "exposure_time")
        scan_axes: tuple[Axis, ...] = (Axis("series_count", "ms", step or 1.0),)
    else:
        scan_axes = _scan_axes(tree, hints[0].shape)
    return Recording(
        format="empad",
        path=raw,
        frames=frames,
        signal_axes=_signal_axes(scale),
        scan_axes=scan_axes,
        hints=tuple(hints),
        metadata=_metadata(tree, asked, second),
        original_metadata={"root": tree} if tree else {},
        files=(raw, xml) if xml else (raw,),
        problems=tuple(problems),
    )


def _holds_words(file: DataFile, count: int, tree: Mapping[str, Any]) -> bool:
    """Tell acquired words from exported floats, whatever the description calls them.

    Only an acquisition has the grabber's offsets, and every word has the marker bit.
    """
    grabber = tree.get("grabber")
    if not isinstance(grabber, Mapping) or not any("offset" in str(k) for k in grabber):
        return False
    for i in {0, count // 2, count - 1}:
        raw = bytes(backends.read(file, i * FRAME_G2, FRAME_G2, "auto"))
        if not (np.frombuffer(raw, "<u4") & MARKER).all():
            return False
    return True


def _zero_nans(values: npt.NDArray[Any]) -> None:
    values[np.isnan(values)] = 0


def file_reader(
    filename: str | os.PathLike[str],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    q_calibration: float | None = None,
    remove_nans: bool = False,
    keep_footer: bool = False,
    calibration: Any = None,
    dark_frames: str | os.PathLike[str] | None = None,
    debounce: bool = True,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read an EMPAD recording.

    Parameters
    ----------
    filename : str or path
        The .xml, or the .raw.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    q_calibration : float, optional
        Size of a detector pixel in 1/nm; versions from 1.2 do not store it.
    remove_nans : bool
        Replace NaN by 0.
    keep_footer : bool
        Return the two rows behind the pixels of first-generation frames as well.
    calibration : path or mapping, optional
        EMPAD-G2: folder with G1A.r32, G1B.r32, G2A.r32 … FFB.r32, or a .npz or mapping with the
        maps ``G1 G2 B2`` (linear) or ``Ml alpha Md Oh Ot`` (quadratic) and ``FF``, each of shape
        (2, 128, 128) for even and odd frames.
    dark_frames : path, optional
        EMPAD-G2: raw recording without beam; its mean is subtracted, even and odd frames apart.
    debounce : bool
        EMPAD-G2: shift each frame so that its background lies at zero.
    **options
        `ReadOptions`.

    Returns
    -------
    list of one dict
        ``data`` of shape (scan lines, scan columns, 128, 128), float32; uint32 for EMPAD-G2 words
        without a calibration.

    Raises
    ------
    NotThisFormat
        The .xml describes something else.
    Truncated
        The .raw holds no complete frame.
    FormatError
        The .raw is missing, or calibration maps do not fit.
    """
    del distributed  # nothing is left to do for it
    recording = parse(
        filename,
        q_calibration=q_calibration,
        remove_nans=remove_nans,
        keep_footer=keep_footer,
        calibration=calibration,
        dark_frames=dark_frames,
        debounce=debounce,
    )
    return read(
        recording,
        lazy=lazy,
        chunks=chunks,
        mmap_mode=mmap_mode,
        navigation_shape=navigation_shape,
        first_frame=first_frame,
        last_frame=last_frame,
        options=options,
    )
