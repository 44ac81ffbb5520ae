#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# VirtualiZarr 2.8.0: the parser of kerchunk's JSON files leaves the "templates" of the specification
# (https://fsspec.github.io/kerchunk/spec.html, version 1) as they are, and then refuses the paths. fsspec
# reads the same file. With the templates replaced beforehand, VirtualiZarr reads it too.
# Seen 2026-11-30: "fsspec: 496 | with the template: must be absolute | without: 496"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv  # Python 3.12 or later
venv/bin/pip install --quiet "virtualizarr==2.8.0" "fsspec==2026.9.0" "zarr==3.4.2" "xarray==2026.9.0" aiohttp ujson
cat > look.py <<'PY'
import json
import os

import numpy as np
import virtualizarr
import zarr
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from virtualizarr.parsers import KerchunkJSONParser

np.arange(32, dtype="<u2").tofile("frames.raw")
array = {
    **{"zarr_format": 2, "shape": [4, 8], "chunks": [1, 8], "dtype": "<u2", "order": "C"},
    **{"compressor": None, "filters": None, "fill_value": 0},
}
here = f"file://{os.getcwd()}"
registry = ObjectStoreRegistry({"file://": LocalStore()})


def write(name, folder):
    refs = {f"data/{i}.0": [f"{folder}/frames.raw", i * 16, 16] for i in range(4)}
    refs[".zgroup"] = json.dumps({"zarr_format": 2})
    refs["data/.zarray"] = json.dumps(array)
    refs["data/.zattrs"] = json.dumps({"_ARRAY_DIMENSIONS": ["y", "x"]})
    with open(name, "w") as file:
        json.dump({"version": 1, "templates": {"f": here}, "refs": refs}, file)


def by_virtualizarr(name):
    try:
        parser = KerchunkJSONParser()
        store = parser(url=f"{here}/{name}", registry=registry)
        return int(zarr.open_group(store, mode="r")["data"][:].sum())
    except ValueError as error:
        return "must be absolute" if "must be absolute" in str(error) else str(error)


write("a.json", "{{f}}")
write("b.json", here)
options = {"fo": "a.json"}
total = int(zarr.open_group("reference://", storage_options=options, mode="r")["data"][:].sum())
print(
    f"fsspec: {total} | with the template: {by_virtualizarr('a.json')} | "
    f"without: {by_virtualizarr('b.json')}"
)
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "fsspec: 496 | with the template: must be absolute | without: 496"
