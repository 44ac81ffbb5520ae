# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of image files: which files are meant, and the frames of each, whatever their format.

TIFF files without compression are read in place. Every other file goes to the reader of ours that
recognises it, then to Pillow (PNG, JPEG, …) and to fabio. Describing a long list is cheap: no pixel
is read, except by fabio from the first file.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rsciio_tem.errors import FormatError, NotThisFormat, Problem, Truncated, Unsupported
from rsciio_tem.frames.combined import chained
from rsciio_tem.frames.decoded import Decoded
from rsciio_tem.frames.pixels import Pixels, Region
from rsciio_tem.frames.protocol import Frames
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.parsing import tiff
from rsciio_tem.parsing.processing import Block, Processed, Shape, Step
from rsciio_tem.storage import backends, files
from rsciio_tem.storage.backends import DataFile

__all__ = ["Opener", "found", "joined"]

_GLOB = re.compile(r"[*?\[]")


#: Words of a name with spaces in a list that is separated by spaces, at most.
_WORDS = 16


#: Beginnings of what Pillow reads.
_PILLOW = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8")


# ---------------------------------------------------------------- which files


def found(
    names: str | Sequence[str], directory: str, folders: Sequence[str], path: str
) -> tuple[list[str], list[Problem]]:
    """List the files that are meant.

    Parameters
    ----------
    names : str or list of str
        Names and patterns (``* ? [] **``). In a text they are separated by spaces; a name with
        spaces in it is recognised by being there, or by quotation marks. In a list, one each.
    directory : str
        Goes before each of them.
    folders : sequence of str
        What relative paths start from: the first where something is found.
    path : str
        For messages.

    Returns
    -------
    names : list of str
        In the order given; what a pattern finds in natural order (2 before 10).
    problems : list of Problem

    Raises
    ------
    FormatError
        A name or pattern finds nothing.
    """
    search = _Search(directory, tuple(folders), path)
    if isinstance(names, str):
        words = [m.span() for m in re.finditer(r'"[^"]+"|\'[^\']+\'|\S+', names)]
        i = 0
        while i < len(words):
            for j in range(i, min(i + _WORDS, len(words))):
                text = names[words[i][0] : words[j][1]]
                if search.take(text.strip("\"'") if j == i else text):
                    i = j + 1
                    break
            else:
                raise search.nothing(names[slice(*words[i])].strip("\"'"))
    else:
        for name in names:
            if not isinstance(name, str) or not name:
                raise FormatError(path, f"lists {name!r} among its files, which is no name.")
            if not search.take(name):
                raise search.nothing(name)
    if not search.names:
        raise FormatError(path, "lists no files.")
    if search.repeated:
        search.problems.append(
            Problem(
                "warning",
                f"{search.repeated} files are found by several patterns, and are taken once.",
            )
        )
    if search.names != sorted(search.names):
        search.problems.append(
            Problem(
                "info",
                "files are in the order of the list, numbers in natural order; hexrd sorts them "
                "by characters, 10 before 2.",
            )
        )
    return search.names, search.problems


@dataclass
class _Search:
    directory: str
    folders: tuple[str, ...]
    path: str
    names: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    repeated: int = 0

    def take(self, name: str) -> bool:
        """Add what a name or pattern finds; False if it finds nothing."""
        wanted = os.path.join(os.path.expanduser(self.directory), name)
        for folder in self.folders:
            place = os.path.join(folder, wanted)
            if os.path.isfile(place):
                self.names.append(place)
                self.known.add(place)
                return True
            if _GLOB.search(wanted) and (hits := self._matching(folder, name)):
                new = [hit for hit in hits if hit not in self.known]
                self.repeated += len(hits) - len(new)
                self.names += new
                self.known.update(new)
                return True
        for folder in self.folders:  # a list that was written where case does not matter
            if (other := _in_other_case(os.path.join(folder, wanted))) is not None:
                self.names.append(other)
                self.known.add(other)
                return True
        return False

    def _matching(self, folder: str, name: str) -> list[str]:
        directory = os.path.join(folder, os.path.expanduser(self.directory))
        if os.path.isdir(directory):  # its brackets are no pattern
            directory = glob.escape(directory)
        hits = glob.glob(os.path.join(directory, name), recursive=True)
        return sorted((h for h in hits if os.path.isfile(h)), key=files.natural_key)

    def nothing(self, name: str) -> FormatError:
        places = " nor in ".join(
            dict.fromkeys(
                os.path.abspath(os.path.join(f, os.path.expanduser(self.directory)))
                for f in self.folders
            )
        )
        return FormatError(
            self.path,
            f"lists {name}, which is not in {places}.",
            "Relative folders start from the folder of this file, then from the current one.",
        )


def _in_other_case(place: str) -> str | None:
    folder, base = os.path.split(place)
    try:
        hits = [entry for entry in os.listdir(folder or ".") if entry.lower() == base.lower()]
    except OSError:
        return None
    there = os.path.join(folder, hits[0]) if len(hits) == 1 else ""
    return there if os.path.isfile(there) else None


# ---------------------------------------------------------------- frames of a file


class _Gel(Step):
    """Counts of a .gel (Molecular Dynamics), which stores inverted square roots."""

    code = "gel"
    SCALE = 2.9452155399372724e-07

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype(np.float64)

    def apply(self, block: Block, region: Region, source: Region, shape: Shape) -> Block:
        result: Block = np.square(np.invert(block).astype(np.float64)) * self.SCALE
        return result


class Opener:
    """Describes one file after the other, and remembers what the one before was like."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.formats: dict[str, int] = {}
        self._layout: tiff.Layout | None = None
        self._own: dict[str, tuple[str, dict[str, Any]]] = {}  # suffix: format, options
        self._foreign: set[str] = set()  # suffixes of files that no reader of ours knows
        self._fabio: dict[str, tuple[type, Shape, np.dtype[Any]]] = {}  # of single images

    def open(self, path: str) -> Frames:
        """Return the frames of a file.

        Raises
        ------
        FormatError
            Nothing reads it.
        """
        suffix = os.path.splitext(path)[1].lower()
        if self._layout is not None:  # probably like the one before
            with contextlib.suppress(NotThisFormat):
                return self._tiff(path, suffix)
        head = files.read_start(path, 8)
        if head[:4] in tiff.MAGICS:
            return self._tiff(path, suffix)
        if (own := self._of_ours(path, suffix)) is not None:
            frames, name = own
        elif head.startswith(_PILLOW):
            frames, name = _of_pillow(path), "Pillow"
        else:
            frames, name = self._of_fabio(path, suffix), "fabio"
        self.formats[name] = self.formats.get(name, 0) + 1
        return frames

    def _tiff(self, path: str, suffix: str) -> Frames:
        file = DataFile.of(path)
        layout = tiff.describe(file, self._layout)
        self._layout = layout
        self.formats["TIFF"] = self.formats.get("TIFF", 0) + 1
        if layout.others:
            self.problems.append(
                Problem(
                    "warning",
                    f"{path}: {layout.others} images of another size or pixel type than the first "
                    "are left out.",
                )
            )
        frames = tiff.frames_of(file, layout)
        if suffix != ".gel":
            return frames
        if frames.dtype.kind != "u":
            raise Unsupported(path, f"is a .gel of {frames.dtype} pixels.")
        return Processed(frames, (_Gel(),))

    def _of_ours(self, path: str, suffix: str) -> tuple[Frames, str] | None:
        from rsciio_tem.readers import module_for

        if suffix in self._foreign:
            return None
        tries = [self._own[suffix]] if suffix in self._own else []
        for name, options in tries or _recognised(path):
            module = module_for(name)
            if "single_file" in module.parse.__annotations__:
                options = {**options, "single_file": True}
            try:
                recording = module.parse(path, **options)
            except NotThisFormat:
                if self._own.pop(suffix, None) is None:
                    raise
                return self._of_ours(path, suffix)
            self._own[suffix] = name, options
            self.problems += [
                replace(problem, message=f"{path}: {problem.message}")
                for problem in recording.problems
            ]
            frames = recording.frames
            if isinstance(frames, FrameTable) and len(frames.files) > 1 and frames.order is None:
                # the other files of a numbered set are listed themselves
                own = [os.path.samefile(file.path, path) for file in frames.files]
                frames = replace(frames, runs=frames.runs[np.array(own)[frames.runs["file"]]])
            if recording.corrections:
                from rsciio_tem.frames.corrections import Corrected

                frames = Corrected(frames, recording.corrections, path)
            return frames, name
        self._foreign.add(suffix)
        return None

    def _of_fabio(self, path: str, suffix: str) -> Frames:
        file = DataFile.of(path)
        if suffix in self._fabio:  # compared when it is loaded
            kind, shape, dtype = self._fabio[suffix]
            return Decoded(_Fabio(file, kind, shape, dtype.str, 1), 1, shape, dtype)
        with _fabio_image(path) as image:
            kind, count = type(image), int(image.nframes)
            if kind.__name__ == "GeImage":
                return self._of_ge(file, image.header)
            data = _checked(image.data, path)
            shape, dtype = data.shape, data.dtype.newbyteorder("=")
        if count == 1:
            self._fabio[suffix] = kind, shape, dtype
        return Decoded(_Fabio(file, kind, shape, dtype.str, count), count, shape, dtype)

    def _of_ge(self, file: DataFile, header: Any) -> Frames:
        """Frames of a General Electric detector lie one after the other behind the header."""
        size = int(header["ImageDepthInBits"]) // 8
        shape = (int(header["NumberOfRowsInFrame"]), int(header["NumberOfColsInFrame"]))
        start = sum(int(header[f"{k}HeaderSizeInBytes"]) for k in ("Standard", "User"))
        pixels = Pixels(shape, np.dtype(f"<u{size}"))
        count = int(header["NumberOfFrames"])
        rest = file.size - start - count * pixels.nbytes
        if rest < 0 or count < 1:
            raise Truncated(file.path, f"ends {-rest} bytes before the last of {count} frames.")
        if rest:
            self.problems.append(
                Problem(
                    "warning",
                    f"{file.path}: {rest} bytes behind its {count} frames of {shape} pixels with "
                    f"{8 * size} bits are ignored.",
                    "If the frames look wrong, describe the file as a raw image (rawimage).",
                )
            )
        return FrameTable((file,), runs_of([(0, start, pixels.nbytes, count)]), pixels)


def _recognised(path: str) -> list[tuple[str, dict[str, Any]]]:
    """Name the format of ours that a file has, if any."""
    from rsciio_tem.readers import detect

    return [
        (candidate.format, candidate.options)
        for candidate in detect(path)[:1]
        if candidate.confidence >= 0.5 and candidate.format != "imagefiles"
    ]


def _checked(data: Any, path: str) -> npt.NDArray[Any]:
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.dtype.kind not in "buif":
        what = f"of shape {getattr(data, 'shape', None)} and type {getattr(data, 'dtype', None)}"
        raise Unsupported(path, f"holds an image {what}, which is no grey image.")
    return data


# ---------------------------------------------------------------- Pillow


def _of_pillow(path: str) -> Frames:
    from PIL import Image

    file = DataFile.of(path)
    try:
        with Image.open(path) as image:
            mode, (width, height) = image.mode, image.size
    except Exception as error:
        raise FormatError(path, f"cannot be read by Pillow: {error}.") from None
    dtype = {"1": "u1", "L": "u1", "I;16": "u2", "I": "i4", "F": "f4"}.get(mode)
    if dtype is None:
        raise Unsupported(path, f"is an image of mode {mode}, not a grey one.")
    shape = (height, width)
    return Decoded(partial(_decode_pillow, file, shape, dtype), 1, shape, np.dtype(dtype))


def _decode_pillow(
    file: DataFile, shape: Shape, dtype: str, numbers: list[int]
) -> Iterator[npt.NDArray[Any]]:
    from PIL import Image

    backends.read(file, 0, 1, "auto")  # checks that the file is still the one that was described
    try:
        with Image.open(file.path) as image:
            data = np.asarray(image)
    except Exception as error:
        raise FormatError(file.path, f"cannot be read by Pillow: {error}.") from None
    if data.shape != shape:
        raise FormatError(file.path, f"has {data.shape} pixels, not {shape} as its header says.")
    for _ in numbers:
        yield data.astype(dtype, copy=False)


# ---------------------------------------------------------------- fabio


def _fabio_image(path: str, kind: type | None = None) -> Any:
    """Open a file with fabio, with the class that read the file before it."""
    try:
        import fabio
    except ImportError:
        raise Unsupported(
            path,
            "is an image of a format that only fabio may read, and fabio is not installed.",
            "pip install fabio",
        ) from None
    try:
        if kind is not None:
            image = kind()
            return image.read(path)
        return fabio.open(path)
    except Exception as error:  # fabio raises whatever comes along
        text = str(error).splitlines()[0] if str(error) else repr(error)
        raise FormatError(path, f"is no image that fabio can read: {text}.") from None


@dataclass(frozen=True)
class _Fabio:
    """Reads frames with fabio."""

    file: DataFile
    kind: type
    shape: Shape
    dtype: str
    count: int

    def __call__(self, numbers: list[int]) -> Iterator[npt.NDArray[Any]]:
        path = self.file.path
        backends.read(self.file, 0, 1, "auto")  # checks that it is still the file described
        with _fabio_image(path, self.kind) as image:
            if image.nframes != self.count:
                raise FormatError(
                    path,
                    f"holds {image.nframes} images, the file before it {self.count}.",
                    "Only files with one image each, or all of the same size, can be mixed.",
                )
            for number in numbers:
                try:
                    data = image.data if number == 0 else image.get_frame(number).data
                except Exception as error:
                    raise FormatError(path, f"image {number} cannot be read: {error}.") from None
                data = _checked(data, path)
                native = data.astype(data.dtype.newbyteorder("="), copy=False)
                if native.shape != self.shape or native.dtype != np.dtype(self.dtype):
                    raise FormatError(
                        path,
                        f"holds {native.shape} pixels of type {native.dtype}, the file before it "
                        f"{self.shape} of type {np.dtype(self.dtype)}.",
                    )
                yield native


# ---------------------------------------------------------------- all files


def joined(
    parts: Sequence[Frames], names: Sequence[str], path: str, problems: list[Problem]
) -> Frames:
    """Put the frames of several files one after the other.

    Raises
    ------
    FormatError
        They have different shapes, or pixel types that no type holds exactly.
    """
    first = parts[0]
    types = dict.fromkeys(part.dtype for part in parts)
    for part, name in zip(parts, names, strict=True):
        if part.frame_shape != first.frame_shape:
            raise FormatError(
                name,
                f"holds frames of {part.frame_shape} pixels, {os.path.basename(names[0])} of "
                f"{first.frame_shape}.",
                f"Leave it out of {os.path.basename(path)}.",
            )
    if len(types) == 1:
        return chained(parts)
    common = np.result_type(*types)
    exact = all(np.can_cast(t, common, "safe") for t in types)
    if not exact or (common.kind == "f" and any(t.kind in "iu" and t.itemsize > 4 for t in types)):
        listed = ", ".join(map(str, types))
        raise FormatError(path, f"lists files with pixels of the types {listed}.")
    problems.append(
        Problem(
            "warning",
            f"pixels have the types {', '.join(map(str, types))} in different files, and are read "
            f"as {common}.",
        )
    )
    return chained(parts, common)
