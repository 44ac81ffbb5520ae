# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged recordings by the thousand: every one is read, or refused with an error that names it.

`victims` are the samples of the tests as files in memory, `fields` says where the numbers in them
are, `damage` and `damage_hdf5` change them, `trial` opens one and judges what happens, `engine`
does that in processes that may die. ``python -m tests.fuzz`` prints a table.
"""

import sys
from pathlib import Path

# the samples of the tests, also where pytest has not put them there
if (folder := str(Path(__file__).resolve().parents[1])) not in sys.path:
    sys.path.insert(0, folder)
