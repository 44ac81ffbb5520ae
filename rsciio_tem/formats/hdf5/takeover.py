# SPDX-License-Identifier: GPL-3.0-or-later
"""Which .emd and .nxs files ``hs.load`` opens with our reader, and not with RosettaSciIO's."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Collection
from typing import Any

from rsciio_tem.errors import Problems
from rsciio_tem.formats.hdf5.choice import Candidate, best
from rsciio_tem.parsing.hdf5 import opened, require_hdf5
from rsciio_tem.parsing.hdf5_links import member
from rsciio_tem.parsing.hdf5_values import attribute, has_attribute, text
from rsciio_tem.reading.options import CommonOptions

_logger = logging.getLogger(__name__)

#: Keywords that both readers have, or HyperSpy, and that say nothing about what is asked for.
_NEUTRAL = frozenset({"filename", "lazy", "first_frame", "last_frame"})


def is_ours(path: str, keywords: Collection[str], reader: Any, theirs: str) -> bool:
    """Whether a file is one that RosettaSciIO's reader reads badly, and ours well; never raises.

    Parameters
    ----------
    path : str
        The file.
    keywords : collection of str
        What the reader is to be called with; one that only one of the two has decides.
        ``dataset_path``, which both have, is RosettaSciIO's.
    reader : callable
        Our reader.
    theirs : str
        Module of RosettaSciIO's.
    """
    try:
        if asked := set(keywords) - _NEUTRAL:
            function = importlib.import_module(theirs).file_reader
            if asked & {*inspect.signature(function).parameters}:
                return False
            if asked & {*inspect.signature(reader).parameters, *CommonOptions.__annotations__}:
                return True
        require_hdf5(path)
        with opened(path) as file:
            chosen, _ = best(file, path, Problems())  # an error if a file is RosettaSciIO's
            return _by_convert(file, chosen) or _is_cube(chosen) or _is_scan(chosen)
    except Exception:  # RosettaSciIO's reader says what is wrong, as it does without us
        _logger.debug("%s is left to %s", path, theirs, exc_info=True)
        return False


def _by_convert(file: Any, chosen: Candidate) -> bool:
    kept = member(file, f"{chosen.path.strip('/').partition('/')[0]}/rsciio_tem")
    return member(kept, "metadata") is not None


def _is_cube(chosen: Candidate) -> bool:
    """Whether it is a cube of py4DSTEM, all of whose axes are those of a frame to RosettaSciIO."""
    cls = text(attribute(chosen.dataset.parent, "python_class"))
    return chosen.meaning.layout == "EMD 1.0" and cls == "DataCube" and chosen.dataset.ndim > 3


def _is_scan(chosen: Candidate) -> bool:
    """Whether it is NXdata with frames, of whose axes none is marked as a frame's.

    To RosettaSciIO, axes with names belong to a scan, and those called "." to a frame.
    """
    group, shape = chosen.dataset.parent, chosen.shape
    if chosen.meaning.layout != "NXdata" or chosen.meaning.spectra or len(shape) < 3:
        return False
    if has_attribute(group, "interpretation"):
        return False
    axes = attribute(group, "axes", ())
    names = [axes] if isinstance(axes, (str, bytes)) else [*axes]
    if "." in [text(name) for name in names] or 0 < len(names) < len(shape):
        return False
    short, long = sorted(shape[-2:])
    # of three axes, the last two may also be a place and a spectrum
    return len(shape) > 3 or (short >= 32 and long <= 4 * short)
