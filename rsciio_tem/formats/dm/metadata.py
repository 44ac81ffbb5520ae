# SPDX-License-Identifier: GPL-3.0-or-later
"""From the tags of an image to metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rsciio_tem.errors import Problem, Problems
from rsciio_tem.formats.dm import rosettasciio
from rsciio_tem.formats.dm.image import Image
from rsciio_tem.parsing.metadata import general, put


def metadata_of(image: Image, tree: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """Translate tags with RosettaSciIO's own table."""
    metadata: dict[str, Any] = {"General": general(image.path, ""), "Signal": {"signal_type": ""}}
    try:
        described = rosettasciio.image_object(image)
        metadata["General"] = general(image.path, image.title or "")
        mapping = described.get_mapping()
    except Exception as error:  # tags of a kind that RosettaSciIO has never met
        message = f"{image.name}: tags cannot be translated to metadata ({error!r})."
        problems.append(Problem("info", message))
        return metadata
    for source, (target, function) in mapping.items():
        value = _value_at(tree, source)
        if isinstance(value, dict):
            value = type(described.imdict)(value, box_dots=True)
        if value is None:
            continue
        try:
            put(metadata, target, value if function is None else function(value))
        except Exception as error:
            problems.append(Problem("info", f"{image.name}: {source} says {value!r} ({error!r})."))
    return metadata


def _value_at(tree: Any, path: str) -> Any:
    """Return what is at a dotted path of RosettaSciIO's, which writes spaces as underscores too."""
    for part in path.split("."):
        if not isinstance(tree, Mapping):
            return None
        slug = _slug(part)
        tree = next((v for k, v in tree.items() if _slug(str(k)) == slug), None)
    return tree


def _slug(name: str) -> str:
    return re.sub(r"\W", "", name.replace(" ", "_"))
