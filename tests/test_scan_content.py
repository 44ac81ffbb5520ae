# SPDX-License-Identifier: GPL-3.0-or-later
"""Line lengths that images show, on simulated scans and on series that are none.

The simulator uses nothing of the package: specimens are fields of contrast for 16 parts of a
detector, recorded place by place with Poisson noise. Seeds are fixed, so counts are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsciio_tem.scan.content import LineContent, content_agrees, content_lines

PARTS = 16
DOSES = (1e4, 1e5, 1e6)
Random = np.random.Generator
Array = np.ndarray[Any, np.dtype[np.float64]]


# ---------------------------------------------------------------- specimens


def contrasts(rng: Random) -> Array:
    """How each part of the detector sees one property of the specimen."""
    return rng.normal(size=PARTS) * rng.uniform(0.05, 0.3)


def hills(rng: Random, ny: int, nx: int, width: float) -> Array:
    """A random field without sharp features, smooth over `width` positions."""
    my, mx = ny + int(4 * width) + 4, nx + int(4 * width) + 4  # a transform is periodic
    square = np.fft.fftfreq(my)[:, None] ** 2 + np.fft.rfftfreq(mx) ** 2
    waves = np.fft.rfft2(rng.normal(size=(my, mx))) * np.exp(-2 * (np.pi * width) ** 2 * square)
    field = np.fft.irfft2(waves, (my, mx))[:ny, :nx]
    return (field - field.mean()) / (field.std() + 1e-12)


def smooth(rng: Random, ny: int, nx: int) -> Array:
    widths = rng.uniform(0.7, min(ny, nx) / 5, rng.integers(1, 4))
    return np.sum([hills(rng, ny, nx, w)[..., None] * contrasts(rng) for w in widths], axis=0)


def particles(rng: Random, ny: int, nx: int) -> Array:
    y, x = np.mgrid[:ny, :nx]
    field = 0.05 * hills(rng, ny, nx, rng.uniform(0.5, 3))[..., None] * contrasts(rng)
    for _ in range(rng.integers(3, 40)):
        radius = rng.uniform(1, min(ny, nx) / 6 + 1)
        inside = np.hypot(y - rng.uniform(0, ny), x - rng.uniform(0, nx)) < radius
        field = field + inside[..., None] * contrasts(rng)
    return field


def lattice(rng: Random, ny: int, nx: int) -> Array:
    y, x = np.mgrid[:ny, :nx]
    field = rng.uniform(0, 1) * hills(rng, ny, nx, min(ny, nx) / 5)[..., None] * contrasts(rng)
    angle, period = rng.uniform(0, np.pi), rng.uniform(2.5, 12)
    for direction in (angle, angle + rng.uniform(0.9, 1.8)):
        phase = 2 * np.pi * (np.cos(direction) * x + np.sin(direction) * y) / period
        field = field + np.cos(phase + rng.uniform(0, 6))[..., None] * contrasts(rng)
        field = field + 0.5 * np.sin(phase)[..., None] * contrasts(rng)
    return field


def edge(rng: Random, ny: int, nx: int) -> Array:
    """Half of the scan is vacuum."""
    y, x = np.mgrid[:ny, :nx]
    angle = rng.uniform(0, 2 * np.pi)
    depth = np.cos(angle) * (x - nx / 2) + np.sin(angle) * (y - ny / 2)
    depth = depth + rng.uniform(-0.25, 0.25) * min(ny, nx)
    inside = 1 / (1 + np.exp(-depth / rng.uniform(0.2, 3)))
    inside *= 1 + 0.3 * hills(rng, ny, nx, rng.uniform(0.7, 5))
    return inside[..., None] * (contrasts(rng) - 0.2)


def grains(rng: Random, ny: int, nx: int) -> Array:
    y, x = np.mgrid[:ny, :nx]
    number = rng.integers(5, 60)
    cy, cx = rng.uniform(0, ny, number), rng.uniform(0, nx, number)
    grain = np.argmin((y[..., None] - cy) ** 2 + (x[..., None] - cx) ** 2, axis=-1)
    each = rng.normal(size=(number, PARTS)) * rng.uniform(0.05, 0.3)
    return each[grain] + 0.03 * hills(rng, ny, nx, 2)[..., None] * contrasts(rng)


SPECIMENS = (smooth, particles, lattice, edge, grains)


def counts(rng: Random, contrast: Array, dose: float) -> Array:
    share = rng.uniform(0.2, 1, PARTS)
    mean = np.clip(1 + contrast, 0.05, 20) * share / share.sum() * dose
    return rng.poisson(mean).astype(np.float64)


def scan(
    rng: Random,
    specimen: Callable[..., Array],
    dose: float,
    serpentine: bool = False,
    longest: int = 128,
) -> tuple[Array, int, int]:
    """Sums over parts for each frame, and the number of lines and columns."""
    ny, nx = np.exp(rng.uniform(np.log(8), np.log(longest + 1), 2)).astype(int).tolist()
    contrast = specimen(rng, ny, nx)
    if serpentine:
        contrast[1::2] = contrast[1::2, ::-1]
    return counts(rng, contrast.reshape(-1, PARTS), dose), ny, nx


# ---------------------------------------------------------------- series that are no scan


def constant(rng: Random, t: Array, period: float) -> Array:
    return np.zeros((len(t), PARTS))


def drift(rng: Random, t: Array, period: float) -> Array:
    u = (t / len(t))[:, None]
    return u * contrasts(rng) + u**2 * contrasts(rng)


def decay(rng: Random, t: Array, period: float) -> Array:
    u = t[:, None] / len(t)
    return np.exp(-u * rng.uniform(0.5, 5)) * np.full(PARTS, 0.5) - 0.5 + u * 0.1 * contrasts(rng)


def rotation(rng: Random, t: Array, period: float) -> Array:
    """Reflections flash one after the other."""
    series = np.zeros((len(t), PARTS))
    for _ in range(rng.integers(10, 200)):
        width = rng.uniform(0.5, len(t) / 60 + 1)
        flash = np.exp(-0.5 * ((t - rng.uniform(0, len(t))) / width) ** 2)
        series[:, rng.integers(PARTS)] += rng.exponential(0.4) * flash
    return series


def rocking(rng: Random, t: Array, period: float) -> Array:
    """Reflections flash on the way there and on the way back."""
    angle = np.abs(t / period % 2 - 1)
    series = np.zeros((len(t), PARTS))
    for _ in range(rng.integers(3, 20)):
        width = rng.uniform(0.5, period / 8 + 1) / period
        flash = np.exp(-0.5 * ((angle - rng.uniform()) / width) ** 2)
        series[:, rng.integers(PARTS)] += rng.exponential(0.4) * flash
    return series


def wave(rng: Random, t: Array, period: float) -> Array:
    return np.sin(2 * np.pi * t / period)[:, None] * contrasts(rng) + drift(rng, t, period)


def pulses(rng: Random, t: Array, period: float) -> Array:
    """Something is switched on and fades, faster and faster and less and less each time."""
    phase, age = t / period % 1, t / len(t)
    series = np.exp(-phase * (2 + 8 * age * rng.uniform()))[:, None] * contrasts(rng)
    return series + (phase * (1 - rng.uniform(0, 0.9) * age))[:, None] * contrasts(rng)


def sawtooth(rng: Random, t: Array, period: float) -> Array:
    phase = (t / period % 1)[:, None]
    return phase * contrasts(rng) + phase**2 * contrasts(rng) + drift(rng, t, period)


def uneven(rng: Random, t: Array, period: float) -> Array:
    """Cycles whose lengths differ by some per cent."""
    lengths = np.maximum(2, rng.normal(period, rng.uniform(0, 0.05) * period, len(t)))
    ends = np.concatenate([[0], np.cumsum(lengths.astype(int))])
    phase = (t - ends[np.searchsorted(ends, t, "right") - 1]) / period
    return phase[:, None] * contrasts(rng) + np.exp(-4 * phase)[:, None] * contrasts(rng)


def walk(rng: Random, t: Array, period: float) -> Array:
    steps = rng.normal(size=(len(t), 2)) / np.sqrt(len(t))
    return np.cumsum(steps, axis=0) @ np.stack([contrasts(rng), contrasts(rng)])


def jumps(rng: Random, t: Array, period: float) -> Array:
    state = np.cumsum(rng.random(len(t)) < rng.uniform(3, 30) / len(t)) % 5
    return state[:, None] * 0.5 * contrasts(rng)


def flicker(rng: Random, t: Array, period: float) -> Array:
    beam = np.sin(2 * np.pi * t * rng.uniform(0.01, 0.49)) + 0.3 * rng.normal(size=len(t))
    return 0.1 * beam[:, None] * np.ones(PARTS)


SERIES = (
    *(constant, drift, decay, rotation, rocking, wave, pulses, sawtooth, uneven, walk, jumps),
    flicker,
)


def series(rng: Random, kind: Callable[..., Array], dose: float) -> Array:
    n = int(np.exp(rng.uniform(np.log(64), np.log(4000))))
    longest = max(6.0, n / 5)
    period = float(rng.integers(5, int(longest))) if rng.random() < 0.5 else rng.uniform(5, longest)
    return counts(rng, kind(rng, np.arange(n, dtype=np.float64), period), dose)


# ---------------------------------------------------------------- what is counted


def verdicts(answers: list[tuple[LineContent | None, int, int]]) -> tuple[int, int, int, int]:
    """Count right lengths, right lengths and beginnings, sure and right, sure and wrong."""
    shown = [(a, a.length == n, a.length == n and a.start == s) for a, n, s in answers if a]
    return (
        sum(length for _, length, _ in shown),
        sum(right for _, _, right in shown),
        sum(a.sure and right for a, _, right in shown),
        sum(a.sure and not right for a, _, right in shown),
    )


def test_complete_scans() -> None:
    answers = []
    for k in range(45):
        rng = np.random.default_rng([1, k])
        parts, _, nx = scan(rng, SPECIMENS[k % 5], DOSES[k % 3])
        answers.append((content_lines(parts), nx, 0))
    length, right, sure, wrong = verdicts(answers)
    assert wrong == 0
    assert length >= 42
    assert right >= 39
    assert sure >= 28


def test_scans_that_begin_late_and_were_stopped() -> None:
    answers = []
    for k in range(45):
        rng = np.random.default_rng([2, k])
        parts, _, nx = scan(rng, SPECIMENS[k % 5], DOSES[k % 3])
        late, early = rng.integers(1, nx, 2).tolist()
        answers.append((content_lines(parts[late : len(parts) - early]), nx, nx - late))
    length, right, sure, wrong = verdicts(answers)
    assert wrong == 0
    assert length >= 41
    assert right >= 34
    assert sure >= 22


def test_one_part_sees_less() -> None:
    answers = []
    for k in range(25):
        rng = np.random.default_rng([3, k])
        parts, _, nx = scan(rng, SPECIMENS[k % 5], DOSES[k % 3])
        answers.append((content_lines(parts.sum(axis=1)), nx, 0))
    length, right, sure, wrong = verdicts(answers)
    assert wrong == 0
    assert length >= 20
    assert right >= 19
    assert sure >= 9


def test_serpentine_scans_are_never_sure() -> None:
    answers = []
    for k in range(25):
        rng = np.random.default_rng([4, k])
        parts, _, nx = scan(rng, SPECIMENS[k % 5], DOSES[k % 3], serpentine=True)
        answers.append((content_lines(parts), nx))
    assert not any(a and a.sure and a.length != nx for a, nx in answers)
    assert not any(a and a.sure and a.serpentine for a, _ in answers)
    seen = [a.length == nx and a.start % nx == 0 for a, nx in answers if a and a.serpentine]
    assert sum(seen) >= 12


@pytest.mark.parametrize("kind", SERIES, ids=lambda kind: kind.__name__)
def test_what_is_no_scan(kind: Callable[..., Array]) -> None:
    for k in range(5):
        rng = np.random.default_rng([5, k])
        answer = content_lines(series(rng, kind, DOSES[k % 3]))
        assert answer is None or not answer.sure, answer


# ---------------------------------------------------------------- single cases


def test_reason_says_what_is_seen() -> None:
    rng = np.random.default_rng(6)
    contrast = hills(rng, 30, 40, 4)[..., None] * np.linspace(-0.2, 0.3, PARTS)
    parts = counts(rng, contrast.reshape(-1, PARTS), 1e6)
    answer = content_lines(parts)
    assert answer is not None
    assert (answer.length, answer.start, answer.sure) == (40, 0, True)
    assert "frames resemble those 40 frames later" in answer.reason
    assert "not sure" not in answer.reason
    assert 40 not in answer.alternatives
    # as many parts in two dimensions, other units, whole numbers
    assert content_lines(parts.reshape(-1, 4, 4)) == answer
    assert content_lines(parts.astype(np.uint32)) == answer
    scaled = content_lines(parts * 1e-30)
    assert scaled is not None
    assert (scaled.length, scaled.sure) == (40, True)


def test_blank_frames_stay_where_they_are() -> None:
    rng = np.random.default_rng(7)
    contrast = hills(rng, 40, 30, 3)[..., None] * np.linspace(-0.2, 0.3, PARTS)
    parts = counts(rng, contrast.reshape(-1, PARTS), 1e6)
    parts[rng.choice(len(parts), 40)] = 0
    parts[rng.choice(len(parts), 20)] = np.nan
    parts[rng.choice(len(parts), 3), 2] = np.inf
    answer = content_lines(parts)
    assert answer is not None
    assert (answer.length, answer.start, answer.sure) == (30, 0, True)


@pytest.mark.parametrize("frames", [0, 1, 15])
def test_few_frames_say_nothing(frames: int) -> None:
    assert content_lines(np.ones((frames, PARTS))) is None
    assert content_agrees(np.ones((frames, PARTS)), 4) is None


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_equal_frames_say_nothing(value: float) -> None:
    assert content_lines(np.full((400, PARTS), value)) is None
    assert content_agrees(np.full((400, PARTS), value), 20) is None


def test_agreement() -> None:
    right: list[float | None] = []
    wrong: dict[str, list[float | None]] = {"longer": [], "swapped": [], "double": [], "late": []}
    for k in range(10):
        rng = np.random.default_rng([8, k])
        parts, ny, nx = scan(rng, (smooth, lattice)[k % 2], 1e5, longest=64)
        right.append(content_agrees(parts, nx))
        wrong["longer"].append(content_agrees(parts, nx + 1))
        wrong["double"].append(content_agrees(parts, 2 * nx))
        wrong["late"].append(content_agrees(parts, nx, nx // 3))
        wrong["swapped"].append(content_agrees(parts, ny))
    confirmed = [value for value in right if value is not None]
    assert len(confirmed) >= 6
    assert min(confirmed) > 0
    for values in wrong.values():
        against = [value for value in values if value is not None]
        assert len(against) >= 6
        assert max(against) < 0


def test_a_length_that_cannot_be_is_spoken_against() -> None:
    rng = np.random.default_rng(9)
    contrast = hills(rng, 40, 30, 3)[..., None] * np.linspace(-0.2, 0.3, PARTS)
    parts = counts(rng, contrast.reshape(-1, PARTS), 1e6)
    for length in (2, 900, 5000):
        value = content_agrees(parts, length)
        assert value is not None
        assert value < -5
    assert content_agrees(parts, 0) is None
    value = content_agrees(parts, 30)
    assert value is not None
    assert value > 5


def test_cost() -> None:
    """A second is generous: machines that test are slow and busy."""
    rng = np.random.default_rng(10)
    contrast = hills(rng, 200, 250, 5)[..., None] * contrasts(rng)
    parts = counts(rng, contrast.reshape(-1, PARTS), 1e5)
    begin = time.process_time()
    answer = content_lines(parts)
    assert time.process_time() - begin < 3
    assert answer is not None
    assert answer.length == 250


@settings(max_examples=40)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=1, max_dims=2, max_side=60),
        elements=st.floats(),
        fill=st.sampled_from([0.0, 1.0, np.nan]),
    ),
    st.integers(-2, 80),
    st.integers(0, 80),
)
def test_any_numbers(parts: Array, length: int, start: int) -> None:
    answer = content_lines(parts)
    if answer is not None:
        assert 0 <= answer.start < answer.length <= len(parts)
        assert np.isfinite(answer.score)
    value = content_agrees(parts, length, start)
    assert value is None or np.isfinite(value)
