# SPDX-License-Identifier: GPL-3.0-or-later
"""What may import what, and that importing the package is cheap and safe."""

from __future__ import annotations

import ast
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
FORMATS = sorted((PACKAGE / "formats").glob("[!_]*.py"))

#: Modules that may import a package inside their functions.
MAY_IMPORT = {
    "dask": {"read", "arrays", "reduction", "export", "signals"},
    "hyperspy": {"preview", "demo", "cli", "export"},
    "h5py": {"h5", "h5chunks", "h5data", "h5write", "hdf5", "dectris", "framecache", "sparsewrite"},
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


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports(path: Path) -> None:
    top, inner = (packages(path, inside_functions=inside) for inside in (False, True))
    if path.stem != "kernels":
        assert "numba" not in top | inner, "only kernels.py imports numba"
        assert not any(
            name == "rsciio_tem.kernels" for name in imports(path, inside_functions=False)
        )
    assert "dask" not in top, "dask is imported inside functions only"
    assert "dask" not in inner or path.stem in MAY_IMPORT["dask"]
    assert not top & set(HEAVY) - {"numba"}
    assert "libertem" not in top | inner


@pytest.mark.parametrize("path", FORMATS, ids=lambda p: p.stem)
def test_formats_do_not_know_each_other(path: Path) -> None:
    every = {*imports(path, inside_functions=False), *imports(path, inside_functions=True)}
    others = {f"rsciio_tem.formats.{other.stem}" for other in FORMATS if other != path}
    assert not every & others
    assert not {f"rsciio_tem.{other.stem}" for other in FORMATS if other != path} & every
    assert "rsciio_tem.registry" not in every
    assert "rsciio_tem.api" not in every


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_core_does_not_know_the_formats(path: Path) -> None:
    if path.parent.name == "formats":
        return
    assert not any(
        name.startswith("rsciio_tem.formats.") for name in imports(path, inside_functions=False)
    )


def test_flat() -> None:
    nested = {str(path.parent.relative_to(PACKAGE)) for path in MODULES}
    assert nested == {".", "formats", "_hyperspy"}


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
    assert {path.stem for path in FORMATS} == set(rows)
    for name, row in rows.items():
        module = getattr(rsciio_tem, name)
        assert {"parse", "file_reader", "sniff"} <= set(module.__all__)
        assert row.description
        assert all(suffix == suffix.lower().lstrip(".") for suffix in row.suffixes)
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    for name in rows:
        assert f'{name} = "rsciio_tem.formats.{name}"' in project, "no entry point"


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
