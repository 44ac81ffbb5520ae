# SPDX-License-Identifier: GPL-3.0-or-later
"""Side files as nested dictionaries: TOML, YAML, JSON and XML.

All of them are read up to a size, and parsed up to a depth and a number of values, with what
aliases repeat; only plain values are made of them.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from rsciio_tem.errors import FormatError, NotThisFormat, shortened
from rsciio_tem.parsing.coordinates import axis_of
from rsciio_tem.recording.axis import Axis
from rsciio_tem.storage.files import decoded, read_start

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

#: No side file of any format comes near this; what is larger is something else.
_SIDE_FILE_LIMIT = 1 << 20
#: Of a YAML file that describes a recording, whose angles may be those of very many frames.
_YAML_LIMIT = 16 << 20
#: Of a tree: values, depth, bits of a whole number, and characters of it as it is written.
_MOST_VALUES, _DEEPEST, _BITS, _DIGITS = 1 << 20, 30, 128, 400
#: Elements of XML within each other.
_XML_DEEPEST = 50
#: A name of many levels in TOML, for which its parser takes very long.
_LEVELS = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){30}""")


def value_at(tree: Any, *names: str) -> Any:
    """Return the value at the end of a path of names, None if there is none."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def side_content(path: str | os.PathLike[str], most: int = _SIDE_FILE_LIMIT) -> bytes:
    """Return what a side file holds.

    Raises
    ------
    FormatError
        It has more than `most` bytes, or cannot be read.
    """
    with contextlib.suppress(OSError):  # said better when it is read
        if (size := os.path.getsize(path)) <= most:
            return read_start(path, size)
    content = read_start(path, most + 1)
    if len(content) > most:
        raise FormatError(
            path, f"is larger than {most >> 20} MiB, so it is not a description of a recording."
        )
    return content


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


def toml_tree(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file as dictionaries, lists, numbers and text.

    Raises
    ------
    FormatError
        It is not valid TOML, or too large.
    """
    content = side_content(path)
    try:
        text = decoded(content)
        if _LEVELS.search(text):
            raise ValueError("it has a name of very many levels")
        return plain(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is not valid TOML: {_reason(error)}.") from None


def json_value(content: bytes) -> Any:
    """Parse JSON that is kept in a file; None if it is damaged, or makes no sense."""
    import json

    try:
        return _plain(json.loads(content.rstrip(b"\0")), [_MOST_VALUES], 0)
    except (ValueError, RecursionError):
        return None


def _reason(error: BaseException) -> str:
    """Return what a parser complains about as one short line."""
    text = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
    return shortened(" ".join(text.split()), 300).rstrip(".")


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

    if len(content) > _SIDE_FILE_LIMIT:
        raise FormatError(path, "is larger than 1 MiB, so it is not a description of a recording.")
    if b"<!ENTITY" in content:
        raise FormatError(path, "defines XML entities, which no description of a recording does.")
    try:
        _require_plain_xml(content)
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FormatError(path, f"is not valid XML: {_reason(error)}.") from None
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
        return _plain(tree, [_MOST_VALUES], 0)
    except Exception as error:  # PyYAML lets many kinds through, from odd dates and numbers
        raise FormatError(path, f"is not valid YAML: {_reason(error)}.") from None


def _require_shallow(events: Iterable[Any]) -> None:
    """Raise a ValueError before values are made that are nested deep, or very many."""
    depth = 0
    for i, event in enumerate(events):
        if i > 5 * _MOST_VALUES // 4:
            raise ValueError("it holds too many values")
        name = type(event).__name__
        depth += name.endswith("StartEvent") - name.endswith("EndEvent")
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _count(node: Any, counts: dict[int, int]) -> int:
    """Return how many values a node of YAML stands for, each alias with all that it repeats."""
    if id(node) in counts:
        if not counts[id(node)]:
            raise ValueError("it holds itself")
        return counts[id(node)]
    counts[id(node)] = 0
    if isinstance(node.value, str):
        total = 1
        if node.tag.endswith((":int", ":float")) and len(node.value) > _DIGITS:
            raise ValueError(f"it has a number of {len(node.value)} characters")
    else:
        total = 1 + sum(
            _count(part, counts)
            for item in node.value
            for part in (item if isinstance(item, tuple) else (item,))
        )
    if total > _MOST_VALUES:
        raise ValueError("it holds too many values")
    counts[id(node)] = total
    return total


def _plain(value: Any, budget: list[int], depth: int) -> Any:
    """Copy a value with text as keys; aliases may make a small file endless."""
    budget[0] -= 1
    if budget[0] < 0 or depth > _DEEPEST:
        raise ValueError("it holds too many values, or is nested too deep")
    if isinstance(value, dict):
        return {str(k): _plain(v, budget, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(v, budget, depth + 1) for v in value]
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what a side file holds as dictionaries, lists, numbers and text; dates become text."""
    copy = _plain(tree, [_MOST_VALUES], 0)
    assert isinstance(copy, dict)
    return copy
