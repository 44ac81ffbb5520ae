# SPDX-License-Identifier: GPL-3.0-or-later
"""How often readers put every frame of a recording at its true scan position.

`simulate` invents recordings of which the true position of every frame is known, `recordings`
writes them as files, `verdict` opens these and compares. ``python -m tests.geometry`` prints a
table.
"""

import sys
from pathlib import Path

# the writers of the tests, also where pytest has not put them there
if (folder := str(Path(__file__).resolve().parents[1])) not in sys.path:
    sys.path.insert(0, folder)
