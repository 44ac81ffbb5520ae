# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to the files of a recording: numbers that are wrong, bytes that are lost."""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from random import Random
from typing import Any

import yaml

from .victims import Victim


class Folder:
    """A folder where a file was."""


@dataclass(frozen=True)
class Link:
    """A symbolic link where a file was."""

    target: str


#: What a file becomes; None is nothing.
Content = bytes | None | Folder | Link


@dataclass
class Case:
    """A recording, and how it is damaged.

    `pixels` is the frame of which pixels changed, and how many bytes of them, where nothing else
    did.
    """

    victim: Victim
    changes: dict[str, Content] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    pixels: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"{self.victim}: {'; '.join(self.words)}"

    def content(self, name: str) -> bytes:
        """Return what a file holds by now; nothing where it is not a file any more."""
        now = self.changes.get(name, self.victim.files.get(name))
        return now if isinstance(now, bytes) else b""

    def put(self, name: str, content: Content, words: str) -> None:
        """Change a file."""
        self.changes[name] = content
        self.words.append(f"{name}: {words}")


# -- bytes ---------------------------------------------------------------------------------------

_INTEGERS = (0, 1, 2, 3, -1, -2, 7, 255, 256, 32767, 32768, 65535, 65536, 1 << 20, 10**9)
_FLOATS = (0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e300, -1e30, 5e-324)
_INTEGER_TYPES, _FLOAT_TYPES = {1: "b", 2: "h", 4: "i", 8: "q"}, {2: "e", 4: "f", 8: "d"}


def odd_number(rng: Random, old: bytes) -> bytes:
    """Return another number of the same size."""
    size, order = len(old), rng.choice("<<>")
    bits = 8 * size
    match rng.randrange(8):
        case 0 if size in _FLOAT_TYPES:
            value = rng.choice(_FLOATS)
            if value - value == 0:  # finite
                most = {2: 6e4, 4: 3e38, 8: 1e300}[size]
                value = min(max(value, -most), most)
            return struct.pack(order + _FLOAT_TYPES[size], value)
        case 1:
            return old[::-1]
        case 2 | 3:  # off by one, or so
            end = "little" if order == "<" else "big"
            value = int.from_bytes(old, end)
            value += rng.choice((1, -1, 2, -2, value, -(value // 2), 255, -256))
            return (value % (1 << bits)).to_bytes(size, end)
        case 4:
            value = rng.choice(
                ((1 << (bits - 1)) - 1, 1 << (bits - 1), (1 << bits) - 1, 1 << bits // 2)
            )
        case 5:
            value = rng.getrandbits(bits)
        case _:
            value = rng.choice(_INTEGERS)
    return (value % (1 << bits)).to_bytes(size, "little" if order == "<" else "big")


def near_start(rng: Random, size: int) -> int:
    """Return a place in a file; headers are where numbers mean something."""
    return rng.randrange(min(size, rng.choice((64, 512, 4096, size)))) if size else 0


def _a_place(rng: Random, case: Case, name: str, size: int) -> int:
    """Return the edge of a field, or some other place."""
    fields = case.victim.fields(name) if name in case.victim.files else []
    if fields and rng.random() < 0.6:
        chosen = rng.choice(fields)
        at = chosen.start + rng.choice((0, 0, chosen.size, chosen.size, 1, -1))
        return max(0, min(size, at))
    if rng.random() < 0.2:
        return max(0, size - rng.choice((1, 2, 3, 4, 8, 16, 100)))
    return near_start(rng, size)


def write_fields(rng: Random, case: Case, name: str) -> None:
    """Put other numbers into fields."""
    content = bytearray(case.content(name))
    fields = [f for f in case.victim.fields(name) if f.start + f.size <= len(content)]
    numbers = [f for f in fields if f.size in _INTEGER_TYPES]
    if not numbers:
        return write_numbers(rng, case, name)
    # what describes the file is at its beginning, and its frames are many
    many = numbers[: rng.choice((20, 100, len(numbers)))]
    words = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        one = rng.choice(many)
        old = bytes(content[one.start : one.start + one.size])
        other = rng.choice(many)
        if rng.random() < 0.15 and other.size == one.size:  # a size instead of a count
            new = bytes(content[other.start : other.start + other.size])
        else:
            new = odd_number(rng, old)
        content[one.start : one.start + one.size] = new
        words.append(f"field at {one.start}: {old.hex()} -> {new.hex()}")
    case.put(name, bytes(content), ", ".join(words))
    return None


def write_numbers(rng: Random, case: Case, name: str) -> None:
    """Put other numbers where some may be."""
    content = bytearray(case.content(name))
    words = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        size = rng.choice((1, 2, 4, 8))
        if len(content) < size:
            return
        at = min(near_start(rng, len(content)) // size * size, len(content) - size)
        old = bytes(content[at : at + size])
        content[at : at + size] = new = odd_number(rng, old)
        words.append(f"{size} bytes at {at}: {old.hex()} -> {new.hex()}")
    case.put(name, bytes(content), ", ".join(words))


def flip_bits(rng: Random, case: Case, name: str) -> None:
    """Turn some bits around."""
    content = bytearray(case.content(name))
    places = [near_start(rng, len(content)) for _ in range(rng.choice((1, 1, 2, 8)))]
    for at in places[: len(content)]:
        content[at] ^= 1 << rng.randrange(8)
    case.put(name, bytes(content), f"bits at {places}")


def cut(rng: Random, case: Case, name: str) -> None:
    """Leave the end away."""
    content = case.content(name)
    at = _a_place(rng, case, name, len(content))
    case.put(name, content[:at], f"cut at {at}")


def rearrange(rng: Random, case: Case, name: str) -> None:
    """Insert, remove, repeat, or blank a stretch."""
    content = case.content(name)
    at = _a_place(rng, case, name, len(content))
    size = rng.choice((1, 2, 3, 4, 8, 100, 512, 4096, 70_000))
    stretch = content[at : at + size]
    match rng.randrange(6):
        case 0:
            new, what = content[:at] + rng.randbytes(size) + content[at:], "inserted"
        case 1:
            new, what = content[:at] + content[at + size :], "removed"
        case 2:
            new, what = content[:at] + stretch + content[at:], "repeated"
        case 3:
            new, what = content[:at] + bytes(len(stretch)) + content[at + size :], "zeros"
        case 4:
            new, what = content[:at] + b"\xff" * len(stretch) + content[at + size :], "ones"
        case _:
            new = content[:at] + rng.randbytes(len(stretch)) + content[at + size :]
            what = "random"
    case.put(name, new, f"{size} bytes at {at} {what}")


def whole(rng: Random, case: Case, name: str) -> None:
    """Replace the whole content."""
    content = case.content(name)
    size = len(content)
    kinds: dict[str, Content] = {
        "empty": b"",
        "zeros": bytes(size),
        "ones": b"\xff" * size,
        "random": rng.randbytes(min(size, 10_000)),
        "of another kind": rng.choice(_STARTS) + rng.choice((b"", rng.randbytes(200), content)),
        "twice": content * 2,
        "backwards": content[::-1],
        "one byte": content[:1],
        "in text mode": content.replace(b"\n", b"\r\n"),
        "without carriage returns": content.replace(b"\r\n", b"\n"),
        "UTF-8 of Latin-1": content.decode("latin-1").encode(),
    }
    kind = rng.choice(list(kinds))
    case.put(name, kinds[kind], kind)


# -- text ----------------------------------------------------------------------------------------

_NUMBER = re.compile(rb"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_TOKENS = (
    *(b"0", b"1", b"-1", b"2", b"3", b"65536", b"2147483648", b"4294967295", b"00000", b"99999"),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"1" + b"0" * 30),
    *(b"18446744073709551616", b"9" * 5000, b"1e999", b"-1e999", b"nan", b"NaN", b"inf", b"-inf"),
    *(b"1e-320", b"0.5", b"-0.0", b"1_000", b"0x10", b"0x", b"1e3", b"1,5", b"", b" ", b"\0"),
    *(b"\xb2", b"\xff\xfe", b"\xc2\xb2", b"x", "٣".encode(), "²".encode(), "１２".encode()),
    *(b"true", b"True", b"null", b"~", b"[]", b"{}", b"[[1,2],3]", b"''", b'"', b"'", b"[", b"]"),
    *(b"{", b"}", b"(", b"<", b">", b"&amp;", b"&x;", b"<!--", b"%s", b"*a", b"&a [*a]", b"!!int"),
    *(b"!!python/name:os.system", b"!!binary aGFsbG8=", b"!!int x", b"2020-01-01", b"1979-99-99"),
    *(b"../../x", b"/dev/zero", b"/dev/null", b".", b"\n", b"\r", b"\t", b"A" * 100_000),
    *(b"[" * 3000, b"{" * 3000, b"<a>" * 3000, b"- " * 2000, b"'<f8'", b"'|O'", b"'<u1'", b"|S0"),
    *(b"float128", b"(1,2)", b"uint8", b">u4", b"V0", b"M8[s]", b"bool", b"f2", b"<U5", b"c16"),
    *(b"1x1", b"R64", b"U08", b"U64", b"U01", b"2x2", b"Nx1", b"24", b"12", b"6", b"MQ1", b"MQ1A"),
    *(b"MPX,", b"HDR", b"12B", b"24B", b"04,", b"PK\1\2", b"params", b"nav_shape", b"dtype"),
)

#: How files of several kinds begin.
_STARTS = (
    *(b"MQ1,000001,00384,01,", b"12B,000001,0,", b"MPX,0000002049,HDR,", b"PK\3\4", b"\x89HDF\r\n"),
    *(b"\x93NUMPY\1\0", b"\x93NUMPY\2\0", b"image-files: {files: ", b"[params]\nfiletype='raw'\n"),
    *(
        b"filename: a\nshape: 2 2\nscalar: {type: ",
        b"params:\n  filetype: raw\n  ",
        b"II*\0",
        b"MM\0*",
    ),
    *(
        b"ITAMLERTPTT",
        b"\0\0\0\3\0\0",
        b"IMGBLO",
        b"\0\4\x40\0",
        b"<?xml version='1.0'?>",
        b"{",
        b"\0",
    ),
)


def write_token(rng: Random, case: Case, name: str) -> None:
    """Replace numbers, or values behind a sign, in a text or in the text of a header."""
    content = case.content(name)
    words = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        head = content[: rng.choice((500, 4096, 1 << 16))]
        pattern = _NUMBER if rng.random() < 0.6 else rb"(?<=[,:=>\"' \t])[\w.+/-]+"
        spans = [match.span() for match in re.finditer(pattern, head)][:2000]
        if not spans:
            return flip_bits(rng, case, name)
        (first, last), new = rng.choice(spans), rng.choice(_TOKENS)
        if rng.random() < 0.15:  # the value of something else
            begin, end = rng.choice(spans)
            new = content[begin:end]
        if rng.random() < 0.3:  # what follows stays in its place
            new = new[: last - first].rjust(last - first, rng.choice((b"0", b" ")))
        words.append(f"{content[first:last][:40]!r} at {first} -> {new[:40]!r}")
        content = content[:first] + new + content[last:]
    case.put(name, content, ", ".join(words))
    return None


def change_lines(rng: Random, case: Case, name: str) -> None:
    """Leave out, repeat, exchange or cut lines; write the text another way."""
    content = case.content(name)
    lines = content.splitlines(keepends=True)
    if not lines:
        return whole(rng, case, name)
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(13)
    match kind:
        case 0:
            del lines[i]
        case 1:
            lines.insert(j, lines[i])
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case 3:
            lines[i] = lines[i][: len(lines[i]) // 2]
        case 4:
            del lines[i:]
        case 5:
            lines[i] = re.sub(rb"([:=]).*", rb"\1", lines[i])
        case 6:
            lines[i] = rng.choice((b"  ", b"\t")) + lines[i]
        case 7:
            lines[i] = lines[i].swapcase()
        case 8:
            lines[i] = lines[i] * rng.choice((2, 1000))
        case 9:
            lines = [line.rstrip(b"\r\n") + b"\r" for line in lines]
        case 10:
            mark = rng.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-32", "utf-7"))
            lines = [content.decode("latin-1").encode(mark)]
        case 11:
            lines = [rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\n\n", b"---\n")), content]
        case 12:
            lines[i] = re.sub(
                rb"^[\s<\"-]*[\w ]+", rng.choice((b"", b"x", b"1", b"\xe9")), lines[i]
            )
    case.put(name, b"".join(lines), f"lines {i} and {j} changed ({kind})")
    return None


_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30),
    *(0.5, -1.5, 1e300, float("nan"), float("inf"), -float("inf"), "", "x", "1", "-1", "nan", " "),
    *([], {}, [[]], [{}], {"": ""}, [None], [0], [-1], [1], [2**63], ["a"], [1, [2]], [1e300]),
    *([1] * 40, "A" * 100_000, "ß²٣", "a\nb", "\0", "../x", "/dev/zero", "|O", "<U4", "<V0"),
    *("f16", "M8[ns]", [["a", "<u2"]], "<u2", ">f8", "|b1", {"id": "gzip"}, {"id": "x"}),
)


def _nodes(tree: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """List containers with the keys in them."""
    if not isinstance(tree, (dict, list)) or depth > 8:
        return []
    nodes = []
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        nodes.append((tree, key))
        nodes += _nodes(value, depth + 1)
    return nodes


def change_tree(rng: Random, case: Case, name: str) -> None:
    """Replace, remove, rename or wrap a value of JSON or YAML."""
    as_json = not name.lower().endswith((".yml", ".yaml"))
    try:
        content = case.content(name)
        tree = json.loads(content) if as_json else yaml.safe_load(content)
    except (ValueError, LookupError, yaml.YAMLError, RecursionError):  # damaged before
        return write_token(rng, case, name)
    words = []
    for _ in range(rng.choice((1, 1, 2))):
        nodes = _nodes(tree)
        if not nodes:
            return write_token(rng, case, name)
        container, key = rng.choice(nodes)
        kind = rng.randrange(8)
        match kind:
            case 0:
                del container[key]
            case 1:
                other, place = rng.choice(nodes)
                container[key] = json.loads(json.dumps(other[place], default=str))
            case 2:
                container[key] = [container[key]]
            case 3:
                container[key] = str(container[key])
            case 4 if isinstance(container, dict):
                container[rng.choice((str(key).upper(), "", "x"))] = container.pop(key)
            case 5 if isinstance(container[key], (int, float)):
                container[key] *= rng.choice((-1, 2, 0.5, 10**6))
            case _:
                container[key] = rng.choice(_VALUES)
        words.append(f"{str(key)[:40]} changed ({kind})")
        if rng.random() < 0.05:
            tree = rng.choice(_VALUES)
    try:
        new = json.dumps(tree) if as_json else yaml.safe_dump(tree, default_flow_style=None)
    except (ValueError, yaml.YAMLError):
        return write_token(rng, case, name)
    case.put(name, new.encode("utf-8", "surrogatepass"), ", ".join(words))
    return None


# -- archives ------------------------------------------------------------------------------------


def change_members(rng: Random, case: Case, name: str) -> None:
    """Write an archive anew, with members that are damaged, missing, doubled or renamed."""
    try:
        with zipfile.ZipFile(BytesIO(case.content(name))) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, NotImplementedError):
        return write_numbers(rng, case, name)
    if not members:
        return write_numbers(rng, case, name)
    i = rng.randrange(len(members))
    info, content = members[i]
    kind = rng.choice(
        ("damaged", "damaged", "damaged", "removed", "doubled", "renamed", "exchanged")
    )
    if kind == "removed":
        del members[i]
    elif kind == "doubled":
        members.append(members[i])
    elif kind == "renamed":
        info.filename = rng.choice(("x", "x.npy", "../x.npy", "0_data.npy", "", "a/", "ß.npy"))
    elif kind == "exchanged":
        j = rng.randrange(len(members))
        members[i], members[j] = (info, members[j][1]), (members[j][0], content)
    else:
        inner = Case(case.victim, {"member": content})
        rng.choice((write_numbers, write_token, write_token, cut, rearrange, flip_bits, whole))(
            rng, inner, "member"
        )
        members[i] = (info, inner.content("member"))
        kind = "; ".join(inner.words)
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for info, content in members:
            archive._didModify = True
            archive.NameToInfo.pop(info.filename, None)
            archive.writestr(info, content, info.compress_type)
    case.put(name, out.getvalue(), f"member {i} {kind}")
    return None


# -- folders -------------------------------------------------------------------------------------


def change_files(rng: Random, case: Case, others: list[Victim]) -> None:
    """Remove, exchange, or replace whole files."""
    names = list(case.victim.files)
    name = rng.choice(names)
    match rng.randrange(8):
        case 0 | 1:
            case.put(name, None, "removed")
        case 2:
            case.put(name, b"", "emptied")
        case 3:
            case.put(name, Folder(), "a folder")
        case 4:
            other = rng.choice(names)
            one, two = case.content(name), case.content(other)
            case.put(name, two, f"exchanged with {other}")
            case.put(other, one, f"exchanged with {name}")
        case 5:
            stranger = rng.choice(others)
            suffix = os.path.splitext(name)[1]
            fitting = [n for n in stranger.files if os.path.splitext(n)[1] == suffix]
            if fitting:
                other = rng.choice(fitting)
                case.put(name, stranger.files[other], f"{other} of {stranger}")
        case 6:
            target = rng.choice((name, os.path.basename(rng.choice(names)), "nothing", ".", "/"))
            case.put(name, Link(target), f"a link to {target}")
        case 7:
            stem, suffix = os.path.splitext(name)
            number = re.search(r"\d+$", stem)
            if number:
                digits = str(int(number[0]) + 1).zfill(len(number[0]))
                copy = stem[: number.start()] + digits + suffix
            else:
                copy = stem + rng.choice(("1", "_2", "_000001", "_b")) + suffix
            case.put(copy, case.content(name), f"a copy of {name}")


# -- pixels --------------------------------------------------------------------------------------


def change_pixels(rng: Random, case: Case) -> None:
    """Turn bits of one frame around, and of nothing else."""
    frame = rng.randrange(len(case.victim.pixels))
    name, start, size = case.victim.pixels[frame]
    content = bytearray(case.content(name))
    count = min(rng.choice((1, 2, 5)), size)
    places = rng.sample(range(start, start + size), count)
    if places[-1] >= len(content):
        return
    for at in places:
        content[at] ^= rng.randrange(1, 256)
    case.put(name, bytes(content), f"pixels of frame {frame} at {places}")
    case.pixels = frame, count


Damage = Callable[[Random, Case, str], None]
