# SPDX-License-Identifier: GPL-3.0-or-later
"""Side files as nested dictionaries: TOML, YAML, JSON and XML.

All of them are read up to a size, and parsed up to a depth and a number of values, with what
aliases repeat; only plain values are made of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from rsciio_tem.errors import FormatError, NotThisFormat
from rsciio_tem.parsing.coordinates import axis_of
from rsciio_tem.recording.axis import Axis
from rsciio_tem.storage.files import decoded
from rsciio_tem.storage.trees import (
    DEEPEST,
    DIGITS,
    MOST_VALUES,
    SIDE_FILE_LIMIT,
    plain,
    plain_value,
    reason_of,
    side_content,
    toml_tree,
)

__all__ = [
    "json_value",
    "of_another",
    "plain",
    "side_axes",
    "side_content",
    "side_parameters",
    "toml_tree",
    "value_at",
    "xml_content",
    "xml_tree",
    "yaml_tree",
]

#: Of a YAML file that describes a recording, whose angles may be those of very many frames.
_YAML_LIMIT = 16 << 20
#: Elements of XML within each other.
_XML_DEEPEST = 50


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
    toml = os.fspath(path).lower().endswith(".toml")
    tree = toml_tree(path) if toml else _yaml(side_content(path), path)
    params = tree.get("params") if isinstance(tree, dict) else None
    if not isinstance(params, dict):
        raise FormatError(path, "has no table [params].")
    return params


def json_value(content: bytes) -> Any:
    """Parse JSON that is kept in a file; None if it is damaged, or makes no sense."""
    import json

    try:
        return plain_value(json.loads(content.rstrip(b"\0")))
    except (ValueError, RecursionError):
        return None


def of_another(path: str, filetype: str, data: str = "") -> str:
    """Say of what else than `filetype` and the file `data` a side file is; "" if of nothing else.

    It is not to be replaced then: what it describes could not be read any more.
    """
    try:
        params = side_parameters(path)
    except FormatError:
        return "is not a side file of a recording"
    if str(params.get("filetype", "raw")).lower() != filetype:
        return f"describes a recording of the kind {params['filetype']}"
    name = os.path.basename(str(params.get("file") or data))
    return f"describes {name}" if data and name.lower() != data.lower() else ""


def side_axes(described: Any, side: str) -> tuple[Axis, ...]:
    """Return the calibration that ``axes`` of a side file give, slowest axis first.

    Raises
    ------
    FormatError
        They are not a list of tables.
    """
    usual: dict[str, Any] = {"name": "", "units": "", "scale": 1.0, "offset": 0.0}
    try:
        axes = [{**usual, **axis} for axis in described]
        return tuple(
            axis_of(str(a["name"]), str(a["units"]), [*map(float, a["values"])], len(a["values"]))
            if "values" in a
            else Axis(str(a["name"]), str(a["units"]), float(a["scale"]), float(a["offset"]))
            for a in axes
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(
            side,
            f"has axes that are not a list of name, units, scale and offset (or values): {error}.",
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
    return xml_content(side_content(path), path)


def xml_content(content: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Parse XML that was read from `path`, as `xml_tree` does."""
    from xml.etree import ElementTree

    if len(content) > SIDE_FILE_LIMIT:
        raise FormatError(path, "is larger than 1 MiB, so it is not a description of a recording.")
    if b"<!ENTITY" in content:
        raise FormatError(path, "defines XML entities, which no description of a recording does.")
    try:
        _require_plain_xml(content)
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FormatError(path, f"is not valid XML: {reason_of(error)}.") from None
    tree = _element(root)
    return tree if isinstance(tree, dict) else {root.tag: tree}


def _require_plain_xml(content: bytes) -> None:
    """Raise a ValueError if XML, in whatever encoding, declares its type or is nested very deep.

    Entities, which may be few bytes that stand for very many, are declared there.
    """
    from xml.parsers import expat

    depth = 0

    def refuse(*declared: Any) -> None:
        raise ValueError("it declares a document type, or entities, which no side file does")

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _XML_DEEPEST:
            raise ValueError(f"it nests elements more than {_XML_DEEPEST} deep")

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from None


def _element(element: Any) -> Any:
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return text
    tree: dict[str, Any] = dict(element.attrib)
    if text:
        tree["text"] = text
    for child in element:
        value = _element(child)
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
        It is not valid YAML.
    NotThisFormat
        It holds no mapping.
    """
    tree = _yaml(side_content(path, _YAML_LIMIT), path)
    if not isinstance(tree, dict):
        raise NotThisFormat(path, "is a YAML file that holds no keys, so it describes nothing.")
    return tree


def _yaml(content: bytes, path: str | os.PathLike[str]) -> Any:
    """Parse YAML whose values, with those that aliases repeat, are not too many."""
    import yaml

    kind: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = decoded(content)
        _require_shallow(yaml.parse(text, kind))
        loader = kind(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node, {})
            tree = loader.construct_document(node)
        finally:
            loader.dispose()
        return plain_value(tree)
    except Exception as error:  # PyYAML lets many kinds through, from odd dates and numbers
        raise FormatError(path, f"is not valid YAML: {reason_of(error)}.") from None


def _require_shallow(events: Iterable[Any]) -> None:
    """Raise a ValueError before values are made that are nested deep, or very many."""
    depth = 0
    for i, event in enumerate(events):
        if i > 5 * MOST_VALUES // 4:
            raise ValueError("it holds too many values")
        name = type(event).__name__
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")


def _count(node: Any, counts: dict[int, int]) -> int:
    """Return how many values a node of YAML stands for, each alias with all that it repeats."""
    if id(node) in counts:
        if not counts[id(node)]:
            raise ValueError("it holds itself")
        return counts[id(node)]
    counts[id(node)] = 0
    if isinstance(node.value, str):
        total = 1
        if node.tag.endswith((":int", ":float")) and len(node.value) > DIGITS:
            raise ValueError(f"it has a number of {len(node.value)} characters")
    else:
        total = 1 + sum(
            _count(part, counts)
            for item in node.value
            for part in (item if isinstance(item, tuple) else (item,))
        )
    if total > MOST_VALUES:
        raise ValueError("it holds too many values")
    counts[id(node)] = total
    return total
