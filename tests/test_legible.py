# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of programs that write UTF-8, and of those that write a code page of Windows."""

from __future__ import annotations

import pytest

from rsciio_tem.parsing.text import legible


@pytest.mark.parametrize("text", ["", "nm", "µm, 1/Å, ±3°", "Ω 漢字"])
def test_utf8(text: str) -> None:
    assert legible(text.encode()) == text
    assert legible(text) == text


@pytest.mark.parametrize("text", ["µm", "1/Å", "20 °C", "€", "Müller", "Å"])
def test_code_page_of_windows(text: str) -> None:
    stored = text.encode("cp1252")
    assert legible(stored) == text
    # as h5py gives text of any length that is no UTF-8
    assert legible(stored.decode("utf-8", "surrogateescape")) == text


def test_neither() -> None:
    assert legible(b"\x81\xb5m") == "\x81µm"
    assert legible("\ud800") == "\ud800"
