#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# fsspec 2026.9.0 with pandas 3: folders of references that kerchunk writes as Parquet files cannot be opened,
# because a path that is not there is NaN, and the reference file system expects None. Files without pandas'
# own notes, as pyarrow writes them by itself, give None and are read.
# Seen 2026-11-30: "by kerchunk: argument of type 'float' is not iterable | by pyarrow: 496, missing 0"
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv  # Python 3.12 or later
venv/bin/pip install --quiet "fsspec==2026.9.0" "pandas==3.1.1" "zarr==3.4.2" "kerchunk==0.2.10" \
    "fastparquet==2026.9.0" "pyarrow==26.0.1" aiohttp
cat > look.py <<'PY'
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from kerchunk.df import refs_to_dataframe

np.arange(32, dtype="<u2").tofile("frames.raw")
path = f"file://{os.getcwd()}/frames.raw"
array = {
    **{"zarr_format": 2, "shape": [5, 8], "chunks": [1, 8], "dtype": "<u2", "order": "C"},
    **{"compressor": None, "filters": None, "fill_value": 0, "dimension_separator": "."},
}
attributes = {"_ARRAY_DIMENSIONS": ["y", "x"]}
texts = {".zgroup": {"zarr_format": 2}, "data/.zarray": array, "data/.zattrs": attributes}


def read(folder):
    try:
        options = {"fo": folder}
        group = zarr.open_group("reference://", storage_options=options, mode="r")
        return f"{int(group['data'][:4].sum())}, missing {int(group['data'][4].sum())}"
    except TypeError as error:
        return str(error)


refs = {key: json.dumps(value) for key, value in texts.items()}
refs |= {f"data/{i}.0": [path, i * 16, 16] for i in range(4)}
refs_to_dataframe({"version": 1, "refs": refs}, "a.parq", record_size=10)

os.makedirs("b.parq/data")
with open("b.parq/.zmetadata", "w") as file:
    json.dump({"zarr_consolidated_format": 1, "metadata": texts, "record_size": 10}, file)
offsets = [i * 16 for i in range(4)]
columns = {"path": [path] * 4 + [None], "offset": [*offsets, 0], "size": [16] * 4 + [0]}
pq.write_table(pa.table(columns), "b.parq/data/refs.0.parq")
print(f"by kerchunk: {read('a.parq')} | by pyarrow: {read('b.parq')}")
PY
seen=$(venv/bin/python look.py 2> /dev/null)
echo "$seen"
test "$seen" = "by kerchunk: argument of type 'float' is not iterable | by pyarrow: 496, missing 0"
