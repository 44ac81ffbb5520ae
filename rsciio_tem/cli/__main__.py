# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m rsciio_tem.cli`` is the command ``rsciio-tem``."""

from rsciio_tem.cli import main

main()
