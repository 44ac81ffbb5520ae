# SPDX-License-Identifier: GPL-3.0-or-later
"""Side files as nested dictionaries: TOML, YAML and XML."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

from rsciio_tem.errors import FormatError, NotThisFormat
from rsciio_tem.recording.axis import Axis
from rsciio_tem.storage.files import decoded, read_start

__all__ = [
    "of_another",
    "plain",
    "side_axes",
    "side_parameters",
    "value_at",
    "xml_content",
    "xml_tree",
    "yaml_tree",
]

#: No side file of any format comes near this; what is larger is something else.
_SIDE_FILE_LIMIT = 1 << 20
#: Of a YAML file that describes a recording: bytes, entries, and depth at most.
_YAML_LIMIT, _YAML_ENTRIES, _YAML_DEPTH = 16 << 20, 1 << 20, 30


def value_at(tree: Any, *names: str) -> Any:
    """Return the value at the end of a path of names, None if there is none."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def side_parameters(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the ``[params]`` table of a TOML or YAML side file.

    Raises
    ------
    FormatError
        It cannot be parsed, or has no such table.
    """
    content = read_start(path, _SIDE_FILE_LIMIT + 1)
    if len(content) > _SIDE_FILE_LIMIT:
        raise FormatError(path, "is larger than 1 MiB, so it is no parameter file.")
    try:
        text = decoded(content)
        if os.fspath(path).lower().endswith(".toml"):
            tree: Any = tomllib.loads(text)
        else:
            import yaml

            tree = yaml.safe_load(text)
    except Exception as error:  # PyYAML lets many kinds through, from odd dates and numbers
        raise FormatError(path, f"is not valid: {error}.") from error
    params = tree.get("params") if isinstance(tree, dict) else None
    if not isinstance(params, dict):
        raise FormatError(path, "has no table [params].")
    return params


def of_another(path: str, filetype: str, data: str = "") -> str:
    """Say of what else than `filetype` and the file `data` a side file is; "" if of nothing else.

    It is not to be replaced then: what it describes could not be read any more.
    """
    try:
        params = side_parameters(path)
    except FormatError:
        return "is no side file of a recording"
    if str(params.get("filetype", "raw")).lower() != filetype:
        return f"describes a recording of the kind {params['filetype']}"
    name = os.path.basename(str(params.get("file") or data))
    return f"describes {name}" if data and name.lower() != data.lower() else ""


def side_axes(described: Any, side: str) -> tuple[Axis, ...]:
    """Return the calibration that ``axes`` of a side file give, slowest axis first.

    Raises
    ------
    FormatError
        They are no list of tables.
    """
    usual: dict[str, Any] = {"name": "", "units": "", "scale": 1.0, "offset": 0.0}
    try:
        axes = [{**usual, **axis} for axis in described]
        return tuple(
            Axis(str(a["name"]), str(a["units"]), float(a["scale"]), float(a["offset"]))
            for a in axes
        )
    except (TypeError, ValueError) as error:
        raise FormatError(
            side, f"has axes that are not a list of name, units, scale and offset: {error}."
        ) from None


def xml_tree(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an XML file as nested dictionaries of text.

    Attributes and child elements become keys, dots in names become levels. Of repeated elements
    the last is found under the name, all of them in a list under ``<name>_list``.

    Raises
    ------
    FormatError
        It is too large for a description, or no XML.
    """
    return xml_content(read_start(path, _SIDE_FILE_LIMIT + 1), path)


def xml_content(content: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Parse XML that was read from `path`, as `xml_tree` does."""
    from xml.etree import ElementTree

    if len(content) > _SIDE_FILE_LIMIT:
        raise FormatError(path, "is larger than 1 MiB, so it is no description of a recording.")
    if b"<!ENTITY" in content:
        raise FormatError(path, "defines XML entities, which no description of a recording does.")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FormatError(path, f"is no valid XML: {error}.") from None
    tree = _element(root, 0, path)
    return tree if isinstance(tree, dict) else {root.tag: tree}


def _element(element: Any, depth: int, path: str | os.PathLike[str]) -> Any:
    if depth > 50:
        raise FormatError(path, "nests its elements more than 50 deep.")
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return text
    tree: dict[str, Any] = dict(element.attrib)
    if text:
        tree["text"] = text
    for child in element:
        value = _element(child, depth + 1, path)
        *levels, name = str(child.tag).split(".")
        node = tree
        for level in levels:
            inner = node.setdefault(level, {})
            if not isinstance(inner, dict):
                inner = node[level] = {"text": inner}
            node = inner
        if name in node:
            node.setdefault(f"{name}_list", [node[name]]).append(value)
        node[name] = value
    return tree


def yaml_tree(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, as dictionaries, lists, numbers and text.

    Only plain values are made, never objects of Python.

    Raises
    ------
    FormatError
        It is no valid YAML.
    NotThisFormat
        It holds no mapping.
    """
    import yaml

    size = os.path.getsize(path)
    if size > _YAML_LIMIT:
        raise FormatError(path, "is larger than 16 MiB, so it describes no recording.")
    content = read_start(path, size)
    try:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        tree = _plain(yaml.load(decoded(content), loader), [_YAML_ENTRIES], 0)
    except Exception as error:  # PyYAML lets many kinds through, from odd dates and numbers
        raise FormatError(path, f"is no valid YAML: {error}.") from None
    if not isinstance(tree, dict):
        raise NotThisFormat(path, "is a YAML file that holds no keys, so it describes nothing.")
    return tree


def _plain(value: Any, budget: list[int], depth: int) -> Any:
    """Copy a value with text as keys; aliases may make a small file endless."""
    budget[0] -= 1
    if budget[0] < 0 or depth > _YAML_DEPTH:
        raise ValueError("it holds too many values, or itself")
    if isinstance(value, dict):
        return {str(k): _plain(v, budget, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(v, budget, depth + 1) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what a side file holds as dictionaries, lists, numbers and text; dates become text."""
    copy = _plain(tree, [_YAML_ENTRIES], 0)
    assert isinstance(copy, dict)
    return copy
