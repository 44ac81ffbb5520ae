#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# fsspec 2026.9.0: the reference file system leaves out the "gen" section of a kerchunk file of version 1,
# in which one entry stands for many chunks (which would keep references of long recordings small). There is
# no message: with the default simple_templates=True the chunks are not there, and zarr gives the fill value
# for all pixels. With simple_templates=False (and jinja2 installed) they are right.
# Seen 2026-11-30: "default: chunks 0, sum 0 of 496 | simple_templates=False: chunks 4, sum 496 of 496"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet "fsspec==2026.9.0" "zarr==2.18.7" "numcodecs==0.15.1" "numpy==2.2.6" jinja2
cat > look.py <<'PY'
import json

import fsspec
import numpy as np
import zarr

pixels = np.arange(32, dtype="<u2").reshape(4, 8)
pixels.tofile("frames.raw")
array = {
    **{"zarr_format": 2, "shape": [4, 8], "chunks": [1, 8], "dtype": "<u2", "order": "C"},
    **{"compressor": None, "filters": None, "fill_value": 0},
}
each = {
    "key": "{{i}}.0",
    "url": "frames.raw",
    "offset": "{{i * 16}}",
    "length": "16",
    "dimensions": {"i": {"stop": 4}},
}
references = {"version": 1, "refs": {".zarray": json.dumps(array)}, "gen": [each]}
said = []
for options in ({}, {"simple_templates": False}):
    files = fsspec.filesystem("reference", fo=references, **options)
    chunks = [name for name in files.find("") if not name.startswith(".")]
    total = int(zarr.open(files.get_mapper(""), mode="r")[:].sum())
    name = ", ".join(f"{key}={value}" for key, value in options.items()) or "default"
    said.append(f"{name}: chunks {len(chunks)}, sum {total} of {int(pixels.sum())}")
print(" | ".join(said))
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "default: chunks 0, sum 0 of 496 | simple_templates=False: chunks 4, sum 496 of 496"
