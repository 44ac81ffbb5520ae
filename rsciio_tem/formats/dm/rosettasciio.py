# SPDX-License-Identifier: GPL-3.0-or-later
"""RosettaSciIO's reader, which translates tags, and reads spectra and spectrum images."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from rsciio_tem.errors import Unsupported
from rsciio_tem.formats.dm.image import COLOURS, Image
from rsciio_tem.parsing.dm_tags import TagArray
from rsciio_tem.reading.texts import storable, storable_title
from rsciio_tem.storage.files import plain_file


def reader() -> Any:
    """Import RosettaSciIO's reader."""
    from rsciio.digitalmicrograph import _api

    return _api


def image_object(image: Image) -> Any:
    """Return what RosettaSciIO makes of an image."""
    described = reader().ImageObject({"ImageTags": {}, **_plain(image.tags)}, None)
    described.filename = image.path
    return described


def tags_with(tags: Mapping[str, Any], image: Image) -> dict[str, Any]:
    """Return the tags of a file with one of its images only, as RosettaSciIO does."""
    tree = {"root": {}, **{k: v for k, v in tags.items() if k != "ImageList"}}
    tree["ImageList"] = {"TagGroup0": image.tags}
    result: dict[str, Any] = _plain(copy.deepcopy(tree))
    return result


def _plain(tree: Any) -> Any:
    """Return tags as RosettaSciIO describes them, arrays by offset and size."""
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


def refuse_keywords(image: Image, keywords: Mapping[str, Any]) -> None:
    """Raise if RosettaSciIO would have to follow keywords that it does not have."""
    names = [
        name
        for name, value in keywords.items()
        if value is not None and not (name == "navigator" and value is False)
    ]
    if names:
        raise Unsupported(
            image.path,
            f"{image.name} is a spectrum or spectrum image, which RosettaSciIO reads "
            f"without {', '.join(names)}.",
            "Pass dataset_index= for another image, or leave these keywords out.",
        )


def read_spectra(
    path: str, lazy: bool, order: str | None, optimize: bool, chunks: Any
) -> list[dict[str, Any]]:
    """Read a file that holds nothing but spectra."""
    signals: list[dict[str, Any]] = reader().file_reader(
        path, lazy=lazy, order=order, optimize=optimize, chunks=chunks
    )
    for signal in signals:  # a name that is not text cannot be saved
        named = signal["metadata"]["General"]
        named["title"] = named["title"] if isinstance(named.get("title"), str) else ""
        _storable(signal)
    return signals


def read_spectrum(
    tags: Mapping[str, Any], image: Image, lazy: bool, order: str | None, optimize: bool
) -> dict[str, Any]:
    """Return a spectrum that lies in a file beside images."""
    described = image_object(image)
    described._order = order or "C"
    metadata = described.get_metadata()
    metadata["General"]["original_filename"] = os.path.basename(image.path)
    metadata["General"]["title"] = image.title or ""
    changes = [lambda s: s.squeeze()]
    if described.to_spectrum:
        changes.insert(0, lambda s: s.to_signal1D(optimize=optimize))
    with open(plain_file(image.path, "RosettaSciIO"), "rb") as file:
        described.file = file
        data = described.get_data(lazy and image.type_code not in COLOURS)
    signal = {
        "data": data,
        "axes": described.get_axes_dict(),
        "metadata": metadata,
        "original_metadata": tags_with(tags, image),
        "mapping": described.get_mapping(),
        "post_process": changes,
    }
    _storable(signal)
    return signal


def _storable(signal: dict[str, Any]) -> None:
    """Make names and texts such that HyperSpy can save them."""
    for part in ("axes", "metadata", "original_metadata"):
        signal[part] = storable(signal[part])
    general = signal["metadata"]["General"]
    general["title"] = storable_title(general["title"])
