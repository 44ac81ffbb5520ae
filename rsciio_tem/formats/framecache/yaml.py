# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame caches of which a YAML file says what the arrays of an .npz beside it are."""

from __future__ import annotations

import os
import re
from typing import Any

from rsciio_tem.errors import FormatError, NotThisFormat, Problems
from rsciio_tem.formats.framecache.archive import described_archive
from rsciio_tem.formats.framecache.header import Described, Header
from rsciio_tem.parsing.trees import yaml_tree
from rsciio_tem.recording import rotation
from rsciio_tem.storage import files

#: Keys of ``data``.
KEYS = ("file", "dtype", "nframes", "shape")
#: How a file with such a section looks.
DATA = re.compile(rb"""^[{\s]*["']?data["']?\s*:""", re.MULTILINE)


def has_keys(data: Any) -> bool:
    """Whether a section is that of a frame cache."""
    return isinstance(data, dict) and set(KEYS) <= set(data)


def described_yaml(path: str, problems: Problems) -> Described:
    """Describe a YAML file, and the .npz that it names."""
    tree = yaml_tree(path)
    data: Any = tree.get("data")
    meta = tree.get("meta")
    if not has_keys(data):
        raise NotThisFormat(
            path, f"has no section data with {', '.join(KEYS)}, so it is not a frame cache."
        )
    if meta is not None and not isinstance(meta, dict):
        raise FormatError(path, f"has a section meta that holds {meta!r} instead of keys.")
    header = Header.of(data["shape"], data["nframes"], data["dtype"], path)
    name = data["file"]
    if not isinstance(name, str) or not name:
        raise FormatError(path, f"names the file {name!r}.")
    name = os.path.expanduser(name)
    beside = files.beside(path, name)
    archive = beside if os.path.exists(beside) or not os.path.exists(name) else name
    described = described_archive(files.existing(archive), header, problems)
    folders = [os.path.dirname(place) for place in files.places(path)]
    folders = list(dict.fromkeys((*folders, os.path.dirname(name), os.path.dirname(archive))))
    entries, arrays = rotation.side_metadata(meta or {}, folders, problems)
    return described._replace(
        metadata={**described.metadata, **entries}, files=(path, *described.files, *arrays)
    )
