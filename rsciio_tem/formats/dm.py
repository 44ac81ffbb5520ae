# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of Gatan DigitalMicrograph (.dm3, .dm4): images, stacks, 4D-STEM scans.

Sources: the layout that RosettaSciIO, ncempy and LiberTEM agree on, walked to the end in a hundred
files written by GMS; where the scan axes of 4D data are, from LiberTEM and py4DSTEM.
``specifications/dm.ksy`` writes the layout down, `rsciio_tem.dmtags` reads it.

A file is one tree of tags. Its ``ImageList`` holds images, the first of which is usually a
thumbnail; an image has pixels, sizes (fastest axis first), calibrations and tags of its own.
Spectra and spectrum images are left to RosettaSciIO. DM5 files are HDF5.
"""

from __future__ import annotations

import copy
import glob
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Unpack, get_args

import numpy as np
import numpy.typing as npt

from rsciio_tem import backends, dmtags, files
from rsciio_tem.arrays import ArrayFrames, PixelMajor
from rsciio_tem.backends import DataFile
from rsciio_tem.dmtags import TagArray, group
from rsciio_tem.errors import FormatError, Problem, Unsupported, warn
from rsciio_tem.frames import Frames, FrameTable, runs_of
from rsciio_tem.pixels import Pixels
from rsciio_tem.read import ReadOptions, read
from rsciio_tem.recording import Axis, Recording
from rsciio_tem.scan import ScanHint

__all__ = ["file_reader", "parse", "sniff"]

DataOrder = Literal["auto", "frames", "pixels"]
Path = str | os.PathLike[str]

#: ``ImageData/DataType``: the type of a pixel, without byte order.
TYPES = {
    1: "i2",
    2: "f4",
    3: "c8",
    6: "u1",
    7: "i4",
    9: "i1",
    10: "u2",
    11: "u4",
    12: "f8",
    13: "c16",
    14: "?",
    39: "i8",  # of recent GMS, from hearsay
    40: "u8",
}
#: Colours, as the bytes of one 32-bit number.
COLOURS = (8, 23)
#: Half of the Fourier transform of an image: one row is columns 0, -1, … of it.
HALF_PLANES = {27: "c8", 28: "c16"}
#: The same in the arrangement of older versions.
OLD_HALF_PLANE = 5
HEARSAY = (39, 40)

#: Units of diffraction angles.
_RECIPROCAL = re.compile(r"1\s*/.*|.*(\^?-1|⁻¹)|[mµμu]?rad|deg|°", re.IGNORECASE)
#: Groups of a file that say nothing about its images.
_NOT_IMAGES = ("DocumentObjectList", "ImageTags", "Image Behavior", "Page Behavior", "PageSetup")


# ---------------------------------------------------------------- images


@dataclass(frozen=True, eq=False)
class Image:
    """One image of a file.

    Parameters
    ----------
    path : str
        The file.
    index : int
        Its place in the list of images, thumbnails included.
    tags : dict
        Its part of the tree.
    sizes : tuple of int
        Fastest axis first, as in the file.
    type_code : int
        See `TYPES`.
    data : TagArray
        Where its pixels are.
    thumbnail : bool
        Whether it only shows another one.
    """

    path: str
    index: int
    tags: dict[str, Any]
    sizes: tuple[int, ...]
    type_code: int
    data: TagArray
    thumbnail: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in array order."""
        return self.sizes[::-1]

    @property
    def name(self) -> str:
        """What it is called in messages."""
        title = self.tags.get("Name")
        return f"image {self.index}" + (f" ({title})" if title and isinstance(title, str) else "")

    @property
    def spectral(self) -> bool:
        """Whether RosettaSciIO reads it: spectra, spectrum images, cathodoluminescence."""
        kind = self.meta("Format")
        signal = self.meta("Signal")
        return (
            len(self.sizes) == 1
            or kind in ("Spectrum", "Spectrum image")
            or signal in ("EELS", "X-ray", "CL")
            or group(self.tags, "ImageTags", "spim") is not None
            or group(self.tags, "ImageTags", "Acquisition", "Monarc Spectrometer") is not None
        )

    def meta(self, name: str) -> Any:
        """Return an entry of the tags ``Meta Data``."""
        return group(self.tags, "ImageTags", "Meta Data", name)

    @property
    def stored(self) -> np.dtype[Any]:
        """Type of a stored pixel, byte order included."""
        kind = self.data.dtype
        while kind.names is not None:
            kind = kind[0]
        big = kind.byteorder == ">" or (kind.itemsize > 1 and kind.str[0] == ">")
        if self.type_code in COLOURS:
            # blue is the lowest byte of the number, alpha the highest
            offsets = [1, 2, 3, 0] if big else [2, 1, 0, 3]
            return np.dtype(
                {"names": list("RGBA"), "formats": ["u1"] * 4, "offsets": offsets, "itemsize": 4}
            )
        code = {**TYPES, **HALF_PLANES, OLD_HALF_PLANE: "f4"}.get(self.type_code)
        if code is None:
            raise Unsupported(
                self.path,
                f"{self.name} has pixels of DigitalMicrograph's type {self.type_code}, which is "
                "not known.",
                "Other images of the file can be chosen with dataset_index=.",
            )
        return np.dtype(("<", ">")[big] + code)

    def checked(self) -> list[Problem]:
        """Compare the sizes with the bytes there are.

        Raises
        ------
        FormatError
            They do not fit.
        """
        if self.type_code in HEARSAY or (
            self.type_code in COLOURS and self.stored.fields["R"][1] == 1  # type: ignore[index]
        ):
            problems = [
                Problem(
                    "warning",
                    f"{self.name} has pixels of a kind (type {self.type_code}) that no recorded "
                    "file has confirmed; compare it with what DigitalMicrograph shows.",
                )
            ]
        else:
            problems = []
        shape = self.shape
        if self.type_code in HALF_PLANES:
            shape = (*shape[:-1], shape[-1] // 2 + 1)
        needed = math.prod(shape) * self.stored.itemsize
        there = self.data.count * self.data.dtype.itemsize
        if there < needed:
            raise FormatError(
                self.path,
                f"{self.name} holds {there} bytes of pixels, its sizes {self.sizes} and type "
                f"{self.type_code} make {needed}.",
            )
        if there > needed:
            problems.append(
                Problem(
                    "warning",
                    f"{self.name} holds {there} bytes of pixels, {there - needed} more than its "
                    "sizes make; these are not used.",
                )
            )
        return problems


def _images(path: str, tags: Mapping[str, Any]) -> list[Image]:
    """List the images of a file that have pixels."""
    shown = {
        number
        for entry in _entries(tags.get("Thumbnails"))
        if isinstance(number := entry.get("ImageIndex"), int)
    }
    found = []
    listed = list(_entries(tags.get("ImageList")))
    for i, entry in enumerate(listed):
        data = entry.get("ImageData")
        pixels = group(data, "Data")
        sizes = group(data, "Dimensions")
        code = group(data, "DataType")
        if not isinstance(pixels, TagArray) or not isinstance(sizes, dict):
            continue
        numbers = tuple(sizes.values())
        if (
            not isinstance(code, int)
            or not 1 <= len(numbers) <= 6
            or not all(isinstance(n, int) and 0 < n < 1 << 40 for n in numbers)
        ):
            raise FormatError(path, f"image {i} has damaged sizes {numbers} or type {code!r}.")
        only = len(listed) == 1  # the thumbnail of nothing is an image
        found.append(Image(path, i, entry, numbers, code, pixels, i in shown and not only))
    return found


def _entries(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield from (entry for entry in tree.values() if isinstance(entry, dict))


def _in_order(images: Sequence[Image]) -> list[Image]:
    """Put the recording first: the largest image of three or more axes, if there is one.

    Files with nothing but spectra keep their order, which is RosettaSciIO's.
    """
    large = [i for i in images if len(i.sizes) > 2 and not i.spectral]
    if not large:
        return list(images)
    first = max(large, key=lambda i: math.prod(i.sizes) * i.data.dtype.itemsize)
    return [first, *(i for i in images if i is not first)]


def _chosen(path: str, images: Sequence[Image], dataset_index: int | None) -> list[Image]:
    """Return the image that is asked for, or all but the thumbnails."""
    if not images:
        raise Unsupported(path, "holds tags, but no image.")
    if dataset_index is None:
        return _in_order([i for i in images if not i.thumbnail] or list(images))
    for image in images:
        if image.index == dataset_index:
            return [image]
    listed = ", ".join(f"{i.index}: {' x '.join(map(str, i.sizes))}" for i in images)
    raise FormatError(
        path, f"has no image {dataset_index}.", f"Pass dataset_index= one of {listed}."
    )


# ---------------------------------------------------------------- where the scan is


def _scan_is(
    image: Image, data_order: DataOrder, problems: list[Problem]
) -> tuple[Literal["frames", "pixels"], str]:
    """Say whether the file holds frame after frame, or for each pixel the image of the scan."""
    ndim = len(image.sizes)
    if ndim < 3:
        return "frames", "two axes"
    if data_order != "auto":
        return data_order, "data_order"
    votes: list[tuple[Literal["frames", "pixels"], str]] = []
    swapped = image.meta("Data Order Swapped")
    if ndim > 3 and isinstance(swapped, (bool, int)):
        votes.append(("frames" if swapped else "pixels", f"Data Order Swapped = {int(swapped)}"))
    units = [str(c.get("Units") or "") for c in _calibrations(image)]
    first = all(_RECIPROCAL.fullmatch(u.strip()) for u in units[:2])
    last = all(_RECIPROCAL.fullmatch(u.strip()) for u in units[-2:])
    if first != last:
        votes.append(("frames" if first else "pixels", f"units {units[0 if first else -1]!r}"))
    size = _scan_size(image)
    if ndim > 3 and size is not None and (image.sizes[:2] == size) != (image.sizes[2:4] == size):
        reason = f"a scan of {size[0]} x {size[1]} pixels"
        votes.append(("pixels" if image.sizes[:2] == size else "frames", reason))
    if not votes:
        if ndim == 3:
            return "frames", "three axes"
        problems.append(
            Problem(
                "warning",
                f"{image.name}: nothing tells which of its {ndim} axes are the scan; "
                f"{image.sizes[0]} x {image.sizes[1]} is taken for the scan and "
                f"{image.sizes[-2]} x {image.sizes[-1]} for the frame, as older versions of GMS "
                "stored it.",
                "If the images look wrong, pass data_order='frames'.",
            )
        )
        return "pixels", "as older versions of GMS"
    chosen, why = votes[0]
    for other, reason in votes[1:]:
        if other != chosen:
            problems.append(
                Problem(
                    "warning",
                    f"{image.name}: {why} says that the file holds {_ORDERS[chosen]}, {reason} "
                    f"that it holds {_ORDERS[other]}; the first is believed.",
                    f"If the images look wrong, pass data_order={other!r}.",
                )
            )
    return chosen, why


_ORDERS = {"frames": "frame after frame", "pixels": "the scan of one pixel after the other"}


def _calibrations(image: Image) -> list[dict[str, Any]]:
    """Return one calibration per axis, fastest first; empty where there is none."""
    listed = list(_entries(group(image.tags, "ImageData", "Calibrations", "Dimension")))
    count = len(image.sizes)
    return (listed + [{}] * count)[:count]


def _scan_size(image: Image) -> tuple[int, int] | None:
    """Return columns and lines of the scan as the tags of a spectrum image tell them."""
    sampling = ("ImageTags", "SI", "Acquisition", "Spatial Sampling")
    columns = group(image.tags, *sampling, "Width (pixels)")
    lines = group(image.tags, *sampling, "Height (pixels)")
    if isinstance(columns, (int, float)) and isinstance(lines, (int, float)):
        return int(columns), int(lines)
    return None


def _scan_tags(tree: Any, depth: int = 0) -> tuple[int, int] | None:
    """Return lines and columns of a scan stored as a stack, wherever its tags are.

    Binning in GMS moves them from the image's own tags below ``Parent``.
    """
    if not isinstance(tree, dict) or depth > 8:
        return None
    own = tree.get("4D STEM Tags")
    lines, columns = group(own, "Scan shape Y"), group(own, "Scan shape X")
    if isinstance(lines, (int, float)) and isinstance(columns, (int, float)):
        return (int(lines), int(columns)) if lines >= 1 and columns >= 1 else None
    inner = [tree.get("Parent"), *(v for k, v in tree.items() if k != "Parent")]
    return next((found for v in inner if (found := _scan_tags(v, depth + 1))), None)


def _unfinished(image: Image) -> list[Problem]:
    """Tell if the scan was stopped before its end."""
    size = _scan_size(image)
    last = group(image.tags, "ImageTags", "SI", "Acquisition", "Last pixel")
    if size is None or not isinstance(last, (int, float)) or len(image.sizes) < 3:
        return []
    count = size[0] * size[1]
    if not 0 <= last < count:
        return []
    return [
        Problem(
            "warning",
            f"{image.name}: the scan was stopped after {int(last)} of {count} positions; those "
            "behind hold what GMS had filled them with.",
        )
    ]


# ---------------------------------------------------------------- frames


def _fortran(file: DataFile, offset: int, dtype: str, shape: tuple[int, ...]) -> Any:
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    return backends.map_file(file)[offset : offset + nbytes].view(dtype).reshape(shape, order="F")


def _half_plane(
    file: DataFile, offset: int, dtype: str, shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """Complete the Fourier transform of an image, with its origin in the middle.

    Of each row, the frequencies 0, -1, … are stored; the others follow from the symmetry
    F(-y, -x) = F(y, x)* of a transform of real pixels.
    """
    rows, columns = shape
    width = columns // 2 + 1
    nbytes = rows * width * np.dtype(dtype).itemsize
    raw = np.array(backends.read(file, offset, nbytes, "buffered")).view(dtype)
    half = raw.reshape(rows, width).astype(raw.dtype.newbyteorder("="))
    rest = columns - width
    opposite = (2 * (rows // 2) - np.arange(rows)) % rows
    return np.hstack([half[:, ::-1], half[opposite, 1 : rest + 1].conj()])


def _old_half_plane(
    file: DataFile, offset: int, dtype: str, shape: tuple[int, int]
) -> npt.NDArray[Any]:
    """Complete a Fourier transform in the arrangement of older versions, as RosettaSciIO does."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.array(backends.read(file, offset, nbytes, "buffered")).view(dtype)
    sizes = {"Data0": shape[1], "Data1": shape[0]}
    image = _rosettasciio().ImageObject({"ImageData": {"Dimensions": sizes}}, None)
    result: npt.NDArray[Any] = image.unpack_packed_complex(raw.astype("f4"))
    return result


def _transform(image: Image, file: DataFile, problems: list[Problem]) -> ArrayFrames:
    """Describe a stored Fourier transform."""
    if len(image.sizes) != 2:
        raise Unsupported(
            image.path, f"{image.name} is a stack of Fourier transforms, which nobody has seen yet."
        )
    shape = (image.sizes[1], image.sizes[0])
    function, dtype = _half_plane, image.stored
    result = dtype.newbyteorder("=")
    if image.type_code == OLD_HALF_PLANE:
        if shape[0] != shape[1] or shape[0] % 2:
            raise Unsupported(
                image.path,
                f"{image.name} is a Fourier transform of {shape[0]} x {shape[1]} pixels in the "
                "packing of old versions, which is known for squares of even size only.",
            )
        function, result = _old_half_plane, np.dtype("c8")
        message = f"{image.name} is a Fourier transform in the packing of old versions."
        problems.append(Problem("warning", message, "No recorded file has confirmed it."))
    source = partial(function, file, image.data.offset, dtype.str, shape)
    return ArrayFrames(source, (), shape, result)


def _described(
    image: Image, data_order: DataOrder, order: str | None, problems: list[Problem]
) -> tuple[Frames, tuple[int, ...], tuple[int, ...], tuple[int, ...], str]:
    """Describe the frames of an image.

    Returns
    -------
    frames : Frames
    shape : tuple of int
        Of the scan.
    scan_axes, signal_axes : tuple of int
        Which of the image's axes they are, slowest first.
    reason : str
        What told where the scan is.
    """
    problems += image.checked()
    file, ndim = DataFile.of(image.path), len(image.sizes)
    axes = tuple(range(ndim))[::-1]  # of an array as stored
    if image.type_code in HALF_PLANES or image.type_code == OLD_HALF_PLANE:
        return _transform(image, file, problems), (), (), axes, "two axes"
    stored, shape, start = image.stored, image.shape, image.data.offset
    if order == "F" and ndim > 1:
        if stored.names is not None:
            raise Unsupported(image.path, f"{image.name} has colours, order='F' has not.")
        frames: Frames = ArrayFrames(
            partial(_fortran, file, start, stored.str, shape),
            shape[:-2],
            shape[-2:],
            stored.newbyteorder("="),
            detector_major=True,
        )
        return frames, shape[:-2], axes[:-2], axes[-2:], "order='F'"
    where, why = _scan_is(image, data_order, problems)
    if where == "pixels":
        nav = shape[2:]
        frames = PixelMajor(file, start, stored, math.prod(nav), shape[:2])
        return frames, nav, axes[2:], axes[:2], why
    nav, pixels = shape[:-2], Pixels(shape[-2:], stored)
    rows = [(0, start, pixels.nbytes, math.prod(nav))]
    return FrameTable((file,), runs_of(rows), pixels), nav, axes[:-2], axes[-2:], why


def _axis(image: Image, index: int, name: str) -> Axis:
    """Return the calibration of one axis."""
    calibration = _calibrations(image)[index]
    scale = calibration.get("Scale", 1.0)
    origin = calibration.get("Origin", 0.0)
    units = calibration.get("Units")
    if not isinstance(scale, (int, float)) or not math.isfinite(scale) or scale == 0:
        scale = 1.0
    if not isinstance(origin, (int, float)) or not math.isfinite(origin):
        origin = 0.0
    return Axis(name, units if isinstance(units, str) else "", float(scale), -origin * scale)


# ---------------------------------------------------------------- metadata


def _plain(tree: Any) -> Any:
    """Return tags as RosettaSciIO describes them, arrays by place and size."""
    if isinstance(tree, dict):
        return {name: _plain(value) for name, value in tree.items()}
    if isinstance(tree, TagArray):
        kind = tree.dtype if tree.dtype.names is None else tree.dtype[0]
        return {
            "size": tree.count,
            "endian": "big" if kind.str[0] == ">" else "little",
            "size_bytes": tree.count * tree.dtype.itemsize,
            "offset": tree.offset,
        }
    return tree


def _rosettasciio() -> Any:
    """Import RosettaSciIO's reader."""
    from rsciio.digitalmicrograph import _api

    return _api


def _upstream_image(image: Image) -> Any:
    described = _rosettasciio().ImageObject({"ImageTags": {}, **_plain(image.tags)}, None)
    described.filename = image.path
    return described


def _slug(name: str) -> str:
    return re.sub(r"\W", "", name.replace(" ", "_"))


def _found(tree: Any, path: str) -> Any:
    """Return what is at a dotted path of RosettaSciIO's, which writes spaces as underscores too."""
    for part in path.split("."):
        if not isinstance(tree, Mapping):
            return None
        wanted = _slug(part)
        tree = next((v for k, v in tree.items() if _slug(str(k)) == wanted), None)
    return tree


def _metadata(image: Image, tree: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Translate tags with RosettaSciIO's own table."""
    metadata: dict[str, Any] = {
        "General": {
            "title": os.path.splitext(os.path.basename(image.path))[0],
            "original_filename": os.path.basename(image.path),
        },
        "Signal": {"signal_type": ""},
    }
    try:
        described = _upstream_image(image)
        if described.title:
            metadata["General"]["title"] = described.title
        mapping = described.get_mapping()
    except Exception as error:  # tags of a kind that RosettaSciIO has never met
        message = f"{image.name}: tags cannot be translated to metadata ({error!r})."
        problems.append(Problem("info", message))
        return metadata
    for source, (target, function) in mapping.items():
        value = _found(tree, source)
        if isinstance(value, dict):
            value = type(described.imdict)(value, box_dots=True)
        if value is None:
            continue
        try:
            value = value if function is None else function(value)
        except Exception as error:
            problems.append(Problem("info", f"{image.name}: {source} says {value!r} ({error!r})."))
            continue
        if value is not None:
            node = metadata
            *groups, leaf = target.split(".")
            for name in groups:
                node = node.setdefault(name, {})
            node[leaf] = value
    return metadata


def _original(tags: Mapping[str, Any], image: Image) -> dict[str, Any]:
    """Return the tags of a file with one of its images only, as RosettaSciIO does."""
    tree = {"root": {}, **{k: v for k, v in tags.items() if k != "ImageList"}}
    tree["ImageList"] = {"TagGroup0": image.tags}
    result: dict[str, Any] = _plain(copy.deepcopy(tree))
    return result


# ---------------------------------------------------------------- description


def sniff(path: str, head: bytes) -> tuple[float, str, dict[str, Any]] | None:
    """Recognise a DigitalMicrograph file by its first bytes."""
    if dmtags.is_dm(head) and not path.lower().endswith(".gtg"):  # tags of a K2 IS recording
        return 0.98, f"begins like a DM{head[3]} file", {}
    return None


def _recording(
    tags: Mapping[str, Any], image: Image, data_order: DataOrder, order: str | None
) -> Recording:
    """Describe one image of a file."""
    problems: list[Problem] = []
    frames, shape, scan, signal, why = _described(image, data_order, order, problems)
    problems += _unfinished(image)
    diffraction = len(shape) > 1
    hints: tuple[ScanHint, ...] = ()
    if len(shape) > 1 and math.prod(shape) > 1:
        # axes of one position are left out, as RosettaSciIO does
        scan = tuple(a for a, n in zip(scan, shape, strict=True) if n > 1)
        kept = tuple(n for n in shape if n > 1)
        hints = (ScanHint("header", kept, 0.95, f"sizes {image.sizes}, scan axes by {why}"),)
    elif len(shape) == 1 and (stacked := _scan_tags(image.tags.get("ImageTags"))):
        hints = (ScanHint("header", stacked, 0.95, "4D STEM Tags, Scan shape Y and X"),)
        diffraction = True
    names = ("ky", "kx") if diffraction else ("y", "x")
    stack_axis: Axis | None = None
    scan_axes: tuple[Axis, ...] = (Axis("y"), Axis("x"))
    if len(shape) == 1:
        stack_axis = _axis(image, scan[0], "z")
    elif hints:
        labels = (*("",) * len(scan), "y", "x")[-len(scan) :]
        scan_axes = tuple(_axis(image, a, n) for a, n in zip(scan, labels, strict=True))
    original = _original(tags, image)
    metadata = _metadata(image, original, problems)
    return Recording(
        format="dm",
        path=image.path,
        frames=frames,
        signal_axes=tuple(_axis(image, a, n) for a, n in zip(signal, names, strict=True)),
        scan_axes=scan_axes,
        hints=hints,
        stack_axis=stack_axis,
        metadata=metadata,
        original_metadata=original,
        files=(image.path,),
        problems=tuple(problems),
    )


def parse(
    filename: Path | Sequence[Path],
    *,
    dataset_index: int | None = None,
    data_order: DataOrder = "auto",
    order: str | None = None,
    files: str | Sequence[Path] | None = None,
    same_offset: bool = True,
) -> Recording:
    """Describe the recording in a file; parameters as in `file_reader`.

    Returns
    -------
    Recording

    Raises
    ------
    Unsupported
        There are only spectra in it.
    """
    _checked(data_order, order)
    members = _members(filename, files)
    tags, images = _opened(members[0], dataset_index)
    image = next((i for i in images if not i.spectral), None)
    if image is None:
        raise Unsupported(
            members[0],
            "holds spectra only, which RosettaSciIO reads.",
            "file_reader and hs.load hand it over.",
        )
    recording = _recording(tags, image, data_order, order)
    if len(members) == 1 and files is None and not _several(filename):
        return recording
    return _stack(recording, image, members, same_offset)


def _checked(data_order: str, order: str | None) -> None:
    if data_order not in get_args(DataOrder):
        raise ValueError(f"data_order={data_order!r} is none of {', '.join(get_args(DataOrder))}")
    if order not in (None, "C", "F"):
        raise ValueError(f"order={order!r} is neither 'C' nor 'F'; see also data_order=")


def _opened(path: str, dataset_index: int | None) -> tuple[dict[str, Any], list[Image]]:
    """Read the tags of a file; -> tags, images in the order in which they are returned."""
    tags = dmtags.read_tags(path, rosettasciio=True)
    return tags, _chosen(path, _images(path, tags), dataset_index)


# ---------------------------------------------------------------- several files


def _several(filename: Path | Sequence[Path]) -> bool:
    return not isinstance(filename, (str, os.PathLike))


def _members(filename: Path | Sequence[Path], given: str | Sequence[Path] | None) -> list[str]:
    """List the files of a recording, in order."""
    if not isinstance(filename, (str, os.PathLike)):
        if given is not None:
            raise TypeError("pass either a list of files as filename, or files=")
        found = [os.fspath(name) for name in filename]
        if not found:
            raise ValueError("the list of files is empty")
        return [files.existing(name) for name in found]
    name = os.fspath(filename)
    if given is None:
        if not os.path.exists(name) and glob.has_magic(name):
            return _matching(name)
        return [files.existing(name)]
    if not isinstance(given, str):
        return [files.existing(member) for member in given] or [files.existing(name)]
    name = files.existing(name)
    if given == "numbered":
        return [member.path for member in files.numbered_set(name)]
    return _matching(os.path.join(glob.escape(os.path.dirname(name)), given))


def _matching(pattern: str) -> list[str]:
    found = [name for name in glob.glob(pattern) if os.path.isfile(name)]
    if not found:
        raise FormatError(pattern, "is no file, and as a pattern fits none.")
    return sorted(found, key=files.natural_key)


def _stack(recording: Recording, image: Image, members: list[str], same_offset: bool) -> Recording:
    """Describe the images of several files, each like `image`, as one recording."""
    frames = recording.frames
    if not isinstance(frames, FrameTable):
        raise Unsupported(
            image.path,
            f"{image.name} is not stored frame after frame; several such files cannot be joined.",
        )
    start, stride, count = (int(frames.runs[k][0]) for k in ("start", "stride", "count"))
    rows: list[tuple[int, int, int, int]] = [(0, start, stride, count)]
    described = [DataFile.of(name) for name in members]
    proof = _proof(image, described[0]) if same_offset else None
    for i, file in enumerate(described[1:], start=1):
        if proof is not None and file.size == described[0].size and _proof(image, file) == proof:
            rows.append((i, start, stride, count))
            continue
        other = _same_kind(image, file.path)
        rows.append((i, other.data.offset, stride, math.prod(other.shape[:-2])))
    table = replace(frames, files=tuple(described), runs=runs_of(rows))
    hints = recording.hints if len(members) == 1 else ()
    stacked = Axis("z") if recording.stack_axis is None else recording.stack_axis
    return replace(
        recording,
        frames=table,
        hints=hints,
        scan_axes=recording.scan_axes if hints else (Axis("y"), Axis("x")),
        stack_axis=stacked,
        files=tuple(members),
    )


def _proof(image: Image, file: DataFile) -> bytes | None:
    """Return the bytes around the pixels that say what they are, None if there are none.

    In front: name, type and length of the array. Behind: type and sizes of the image.
    """
    wide = files.read_start(file.path, 4)[3:] == b"\4"
    before = 40 if wide else 20
    # DataType, the group Dimensions with one tag per axis
    behind = 43 + 31 + 35 * len(image.sizes) if wide else 27 + 19 + 19 * len(image.sizes)
    end = image.data.offset + image.data.count * image.data.dtype.itemsize
    if file.size < end + behind:
        return None
    parts = ((image.data.offset - before, before), (end, behind), (0, 4))
    found = b"".join(bytes(backends.read(file, a, n, "buffered")) for a, n in parts)
    return found if b"%%%%" in found and b"Dimensions" in found else None


def _same_kind(image: Image, path: str) -> Image:
    """Return the image of another file that has the same frames."""
    tags = dmtags.read_tags(path, rosettasciio=True, skip=_NOT_IMAGES)
    found = _images(path, tags)
    frame = (image.shape[-2:], image.stored)
    fitting = [i for i in found if len(i.sizes) > 1 and (i.shape[-2:], i.stored) == frame]
    fitting = [i for i in fitting if not i.thumbnail] or fitting
    if not fitting:
        seen = ", ".join(f"{' x '.join(map(str, i.sizes))} of type {i.type_code}" for i in found)
        raise FormatError(
            path,
            f"holds no image with frames of {image.shape[-2:]} pixels and type "
            f"{image.type_code}, as {os.path.basename(image.path)} has; it holds {seen or 'none'}.",
            "Leave it out of the files.",
        )
    chosen = _in_order(fitting)[0]
    chosen.checked()
    return chosen


# ---------------------------------------------------------------- reader


def _spectrum(
    tags: Mapping[str, Any], image: Image, lazy: bool, order: str | None, optimize: bool
) -> dict[str, Any]:
    """Return a spectrum that lies in a file beside images, through RosettaSciIO."""
    described = _upstream_image(image)
    described._order = order or "C"
    metadata = described.get_metadata()
    metadata["General"]["original_filename"] = os.path.basename(image.path)
    changes = [lambda s: s.squeeze()]
    if described.to_spectrum:
        changes.insert(0, lambda s: s.to_signal1D(optimize=optimize))
    with open(image.path, "rb") as file:
        described.file = file
        data = described.get_data(lazy and image.type_code not in COLOURS)
    return {
        "data": data,
        "axes": described.get_axes_dict(),
        "metadata": metadata,
        "original_metadata": _original(tags, image),
        "mapping": described.get_mapping(),
        "post_process": changes,
    }


def file_reader(
    filename: Path | Sequence[Path],
    lazy: bool = False,
    chunks: Any = "auto",
    mmap_mode: str | None = None,
    navigation_shape: int | tuple[int, ...] | None = None,
    first_frame: int | None = None,
    last_frame: int | None = None,
    distributed: bool = False,
    *,
    order: Literal["C", "F"] | None = None,
    optimize: bool = True,
    dataset_index: int | None = None,
    data_order: DataOrder = "auto",
    files: str | Sequence[Path] | None = None,
    same_offset: bool = True,
    **options: Unpack[ReadOptions],
) -> list[dict[str, Any]]:
    """Read the images of a DigitalMicrograph file.

    Parameters
    ----------
    filename : str or path, or list of them
        A .dm3 or .dm4 file; a list, or a pattern such as ``"series_*.dm4"``, is read as one stack.
    lazy, chunks, mmap_mode, navigation_shape, first_frame, last_frame, distributed
        As in every reader, see ``docs/parameters.md``.
    order : {None, "C", "F"}
        As in `rsciio.digitalmicrograph`: how the whole array is reshaped. Which axes are the scan
        is `data_order`.
    optimize : bool
        As in `rsciio.digitalmicrograph`, for spectrum images.
    dataset_index : int
        Return only this image, counted from 0 as in the file, thumbnails included. By default all
        but thumbnails are returned, the largest with three or more axes first.
    data_order : {"auto", "frames", "pixels"}
        How a scan is stored: frame after frame, or for each pixel of the detector the image of the
        scan. "auto" looks at tags, units and sizes.
    files : str or list of path
        Further files of a stack: ``"numbered"`` for those whose names differ from `filename` only
        by the number at the end, a pattern in its folder, or the list in the wanted order.
    same_offset : bool
        In a stack, trust files whose bytes around the pixels are equal to the first one's, which
        saves reading their tags. With False all tags are read.
    **options
        `ReadOptions`.

    Returns
    -------
    list of dict
        One per image. Spectra and spectrum images are those that RosettaSciIO returns.

    Raises
    ------
    NotThisFormat
        The file is no DM3 or DM4 file.
    Truncated
        It ends before its tags or pixels do.
    FormatError
        It is damaged, or files of a stack differ.
    Unsupported
        Its pixels are of an unknown kind.
    """
    del distributed  # nothing is left to do for it
    _checked(data_order, order)
    members = _members(filename, files)
    stack = len(members) > 1 or files is not None or _several(filename)
    tags, images = _opened(members[0], dataset_index)
    if images[0].spectral:
        asked = {
            "navigation_shape": navigation_shape,
            "first_frame": first_frame,
            "last_frame": last_frame,
            "mmap_mode": mmap_mode,
            **({"files": members} if stack else {}),
            **options,
        }
        if options.get("navigator") is False:
            del asked["navigator"]  # nothing is asked for
        given = [name for name, value in asked.items() if value is not None]
        if given:
            raise Unsupported(
                members[0],
                f"{images[0].name} is a spectrum or spectrum image, which RosettaSciIO reads "
                f"without {', '.join(given)}.",
                "Pass dataset_index= for another image, or leave these keywords out.",
            )
    if all(image.spectral for image in images) and dataset_index is None:
        result: list[dict[str, Any]] = _rosettasciio().file_reader(
            members[0], lazy=lazy, order=order, optimize=optimize, chunks=chunks
        )
        return result
    if order == "F" and len(images[0].sizes) > 2 and not images[0].spectral:
        warn(
            members[0],
            "order='F' reads the whole array in Fortran order, as RosettaSciIO does; a scan that "
            "was stored pixel by pixel needs data_order='pixels'.",
        )
    results = []
    for i, image in enumerate(images):
        if image.spectral:
            results.append(_spectrum(tags, image, lazy, order, optimize))
            continue
        recording = _recording(tags, image, data_order, order)
        if i:
            results += read(recording, lazy=lazy, options={"navigator": options.get("navigator")})
            continue
        if stack:
            recording = _stack(recording, image, members, same_offset)
        results += read(
            recording,
            lazy=lazy,
            chunks=chunks,
            mmap_mode=mmap_mode,
            navigation_shape=navigation_shape,
            first_frame=first_frame,
            last_frame=last_frame,
            options=options,
        )
        if stack:
            break  # what else is in the first file says nothing about the others
    return results
