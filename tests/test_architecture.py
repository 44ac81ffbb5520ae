# SPDX-License-Identifier: GPL-3.0-or-later
"""What may import what, and that importing the package is cheap and safe."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import rsciio_tem

PACKAGE = Path(rsciio_tem.__file__).parent
REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
BENCHMARKS = sorted((REPOSITORY / "benchmarks").rglob("*.py"))

#: The rooms of the package from the ground up; a room imports only rooms below it. "" are the
#: package's own names, which it imports on first use.
FLOORS = (
    ("errors", "registry", "_version", "kernels"),
    ("storage", "_hyperspy"),
    ("frames", "readers"),
    ("scan", "reduction"),
    ("recording",),
    ("reading",),
    ("parsing", "writing"),
    ("formats", "tools"),
    ("cli", ""),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: Rooms, or modules, that may import a package inside their functions.
MAY_IMPORT = {
    "dask": {"frames.arrays", "reading", "reduction.workers", "writing", "tools"},
    "hyperspy": {"tools", "cli", "storage.machine"},
    "h5py": {"parsing", "writing", "formats"},
    "matplotlib": {"tools"},
}
HEAVY = [
    "dask",
    "distributed",
    "numba",
    "h5py",
    "zarr",
    "hyperspy",
    "scipy",
    "pandas",
    "matplotlib",
    "psutil",
    "filelock",
    "pint",
]


def imports(path: Path, *, inside_functions: bool) -> Iterator[str]:
    """Names of the modules that a file imports, at its top level or inside functions."""

    def visit(node: ast.AST, inside: bool) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if inside == inside_functions:
                if isinstance(child, ast.Import):
                    yield from (alias.name for alias in child.names)
                elif isinstance(child, ast.ImportFrom):
                    yield child.module or ""
                    yield from (f"{child.module}.{alias.name}" for alias in child.names)
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from visit(child, inside or function)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False)


def packages(path: Path, *, inside_functions: bool) -> set[str]:
    return {name.split(".")[0] for name in imports(path, inside_functions=inside_functions)}


def module_name(path: Path) -> str:
    """Dotted name of a module, relative to the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in MODULES}


def within(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def targets(path: Path) -> set[str]:
    """Modules of ours that a file imports: anywhere in it, and for type checkers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "rsciio_tem":
                while rest and rest not in NAMES:
                    rest = rest.rpartition(".")[0]
                found.add(rest)
    return found


GRAPH = {name: targets(path) - {name} for name, path in NAMES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_floors(name: str) -> None:
    room = name.partition(".")[0]
    for target in GRAPH[name]:
        other = target.partition(".")[0]
        if room != other:
            assert FLOOR[other] < FLOOR[room], f"{name} imports {target}, which is not below it"
        elif room == "formats" and name != "formats":
            # formats never import each other, but their own files
            assert name.split(".")[1] == target.split(".")[1], f"{name} imports {target}"


def test_no_circles() -> None:
    """No files import each other, not even inside functions."""
    graphlib.TopologicalSorter({n: t - {""} for n, t in GRAPH.items()}).prepare()
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


def test_no_circles_in_benchmarks() -> None:
    graph = {}
    for path in BENCHMARKS:
        every = {*imports(path, inside_functions=False), *imports(path, inside_functions=True)}
        stems = {other.stem for other in BENCHMARKS}
        graph[path.stem] = {n.split(".")[1] for n in every if n.startswith("benchmarks.")} & stems
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", NAMES)
def test_imports(name: str) -> None:
    path = NAMES[name]
    top, inner = (packages(path, inside_functions=inside) for inside in (False, True))
    if not within(name, {"kernels"}):
        assert "numba" not in top | inner, "only kernels/ imports numba"
        assert not any(
            imported.startswith("rsciio_tem.kernels")
            for imported in imports(path, inside_functions=False)
        )
    assert not top & set(HEAVY) - {"numba"}
    for package, rooms in MAY_IMPORT.items():
        assert package not in inner or within(name, rooms), package
    assert "libertem" not in top | inner


def test_sizes() -> None:
    """A file is one subject: what grows beyond this has two."""
    long = {
        name: lines
        for name, path in NAMES.items()
        if (lines := len(path.read_text(encoding="utf-8").splitlines()))
        >= (500 if within(name, {"formats"}) else 700)
    }
    assert not long
    assert len([name for name in NAMES if "." not in name]) <= 20


def sources() -> list[Path]:
    folders = [PACKAGE, *(REPOSITORY / name for name in ("tests", "benchmarks", "specifications"))]
    return sorted(path for folder in folders if folder.is_dir() for path in folder.rglob("*.py"))


def test_licence() -> None:
    line = "# SPDX-License-Identifier: GPL-3.0-or-later"
    lacking = [
        str(path)
        for path in sources()
        if line not in path.read_text(encoding="utf-8").split("\n")[:3]
        and "oracles" not in path.parts
    ]
    assert not lacking


def test_every_format_is_complete() -> None:
    rows = rsciio_tem.registry.FORMATS
    listed = {name.split(".")[1] for name in NAMES if name.startswith("formats.")}
    assert listed == set(rows)
    for name, row in rows.items():
        module = getattr(rsciio_tem, name)
        assert {"parse", "file_reader", "sniff"} <= set(module.__all__)
        assert row.description
        assert all(suffix == suffix.lower().lstrip(".") for suffix in row.suffixes)
        assert row.module == f"rsciio_tem.formats.{name}"
        assert row.files


# -- importing -----------------------------------------------------------------------------------


def run(code: str, *folders: Path, **environment: str) -> str:
    """Run code in a fresh interpreter, folders first on its path; return what it prints."""
    path = os.pathsep.join([*map(str, folders), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=REPOSITORY.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light() -> None:
    out = run(f"import sys, rsciio_tem; print(*set({HEAVY!r}) & set(sys.modules))")
    assert out.split() == []


def test_reading_plain_pixels_needs_neither_numba_nor_dask(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(range(240)))
    out = run(
        f"""
        import sys, rsciio_tem
        (signal,) = rsciio_tem.load({str(path)!r}, "raw", dtype=">u2", sig_shape=(4, 5))
        print(signal["data"].shape, signal["data"].flat[1])
        print(*{{"dask", "numba"}} & set(sys.modules))
        """
    )
    assert out.splitlines()[0] == "(6, 4, 5) 515"
    assert out.splitlines()[1:] in ([], [""])


BROKEN = {
    "does not import": "raise RuntimeError('broken')",
    "has no list": "",
    "has another list": "IO_PLUGINS = {'a': 1}",
    "has a tuple": "IO_PLUGINS = ({},)",
    "has odd rows": "IO_PLUGINS = [{'name': 1}, None]",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_import_never_raises(tmp_path: Path, content: str) -> None:
    fake = tmp_path / "rsciio"
    fake.mkdir()
    (fake / "__init__.py").write_text(content)
    out = run("import rsciio_tem; print(rsciio_tem.__version__)", tmp_path)
    assert out.strip() == rsciio_tem.__version__


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RSCIIO_TEM_TAKEOVER", "nonsense"),
        ("RSCIIO_TEM_TAKEOVER", ""),
        ("RSCIIO_TEM_AUTOREGISTER", "0"),
        ("RSCIIO_TEM_AUTOREGISTER", "maybe"),
    ],
)
def test_import_with_odd_settings(name: str, value: str) -> None:
    out = run("import rsciio_tem; print(rsciio_tem.__version__)", **{name: value})
    assert out.strip() == rsciio_tem.__version__


def test_public_names() -> None:
    for name in (*rsciio_tem.__all__, *rsciio_tem.registry.FORMATS):
        assert getattr(rsciio_tem, name) is not None
        assert name in dir(rsciio_tem)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rsciio_tem.nothing  # noqa: B018


def test_public_paths() -> None:
    """What docs/api.md names can be imported from where it says."""
    import importlib
    import re

    text = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"auto(?:class|function):: (rsciio_tem[\w.]*)", text))
    paths |= {f"{m}.{n}" for m, n in re.findall(r"from (rsciio_tem[\w.]*) import (\w+)", text)}
    assert len(paths) > 12
    for path in paths:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name)), path


#: Names that say nothing about the thing. Participles of what happened to it, or where it is, do
#: not tell a reader of the code what it is.
VAGUE = frozenset({"found", "known", "wanted", "own", "given", "told", "placed", "held"})


@pytest.mark.parametrize("name", NAMES)
def test_names_say_what_a_thing_is(name: str) -> None:
    vague: set[tuple[str, int]] = set()
    for node in ast.walk(ast.parse(NAMES[name].read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=variable, ctx=ast.Store()) if variable in VAGUE:
                vague.add((variable, node.lineno))
            case ast.arg(arg=variable) if variable in VAGUE:
                vague.add((variable, node.lineno))
            case ast.FunctionDef(name=variable) | ast.ClassDef(name=variable):
                if variable.strip("_").lower() in VAGUE:
                    vague.add((variable, node.lineno))
    assert not vague


def test_no_file_uses_the_private_names_of_another() -> None:
    private: set[str] = set()
    for name, path in NAMES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rsciio_tem"):
                private |= {
                    f"{name}: {node.module}.{alias.name}"
                    for alias in node.names
                    if alias.name.startswith("_")
                    and not alias.name.startswith("__")
                    and f"{node.module}.{alias.name}".removeprefix("rsciio_tem.") not in NAMES
                }
    assert not private
