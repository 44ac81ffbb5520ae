# SPDX-License-Identifier: GPL-3.0-or-later
"""The length of scan lines as the images themselves show it.

Places of a specimen that are close together look alike. So each frame resembles the one a line
later, and where a line ends the beam jumps to another place, which the images show as a step. Both
are looked for in sums over a few parts of the detector; what has only one of them is not evidence
to rely on: a series that repeats in time resembles itself without being a scan, and things happen
suddenly in experiments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["LineContent", "content_agrees", "content_lines"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

#: Fewer frames, frames of a line, or lines are not looked at.
_FEWEST_FRAMES, _SHORTEST, _FEWEST_LINES = 16, 4, 3
#: Sums of parts that are used, those that change most smoothly from frame to frame.
_COMPONENTS = 6
#: Frames before and behind a place that are compared to see a step.
_REACH = 4
#: Lags that are tried, of each kind; lengths whose lines are compared; frames of these lines.
_PEAKS, _COMPARED, _FRAMES_COMPARED = 24, 12, 1 << 15


@dataclass(frozen=True)
class LineContent:
    """Scan lines that show in the images.

    Parameters
    ----------
    length : int
        Frames of a line.
    start : int
        First stored frame that begins a line; 0 if the recording begins with a whole line.
    sure : bool
        Whether correlation and steps both show the lines, and no other length or place is near.
    score : float
        Evidence in standard deviations, about: below 10 it is weak. Not a probability.
    reason : str
        What shows the lines, and what speaks against them, in words.
    alternatives : tuple of int
        Other lengths, the best first.
    serpentine : bool
        Whether every other line seems to run backwards. Never sure.
    """

    length: int
    start: int
    sure: bool
    score: float
    reason: str
    alternatives: tuple[int, ...] = ()
    serpentine: bool = False


@dataclass(frozen=True)
class _Series:
    """The frames as a few series with a variance of 1, and what follows from these."""

    values: Floats  # (components, frames), 0 on average and for blank frames
    correlation: Floats  # of a frame with the one so many frames later
    steps: Floats  # how little a frame continues those before it, as exponential scores
    scatter: float  # of the steps

    def __len__(self) -> int:
        return len(self.values.T)


@dataclass(frozen=True)
class _Rows:
    """What neighbouring lines have in common; see `_compare_rows`."""

    excess: float
    share: float
    direct: float
    mirrored: float
    turn: int


@dataclass(frozen=True)
class _Lines:
    """One length, with what speaks for it."""

    length: int
    start: int
    step: float  # how large steps at `start` are, in standard deviations of a mean of that many
    rival: float  # the same at the place where they are largest but for that one
    rise: float  # of the correlation above its least value at shorter lags
    whole: bool  # the recording is made of whole lines
    rows: _Rows | None = None

    @property
    def score(self) -> float:
        """Weigh what speaks for it; a step by one standard deviation counts 1."""
        excess = min(self.rows.excess, 12.0) if self.rows else 0.0
        return self.step + 12 * self.rise + 2 * self.whole + 0.3 * excess


# ---------------------------------------------------------------- what is asked


def content_lines(parts: npt.ArrayLike) -> LineContent | None:
    """Find the length of scan lines in sums over parts of the detector.

    Two things are looked for. A frame resembles the one recorded a line later: the correlation of
    the series with itself rises again, above its least value at shorter lags. And frames change
    more at the ends of lines than at any other place of a line. It is sure only if steps stand
    out in both halves of the recording, and neighbouring lines resemble each other in more than
    what all lines share, changes evenly from line to line or grows and fades as a whole: that is
    what a series in time that repeats itself, with a drift, shows too.

    Parameters
    ----------
    parts : array_like of float, shape (frames, k)
        Sums over k parts of the detector, 4 x 4 for example, of each stored frame in the order of
        storage. One part works, several see more. Frames that are all 0 or hold a value that is
        not finite are blank.

    Returns
    -------
    LineContent or None
        The best length; None if frames are fewer than 16 or do not resemble their neighbours.
        A length that is not `sure` is one to offer, not to use.

    Notes
    -----
    The rule is our own, from trials on simulated recordings with and without a scan. Combinations
    of parts that change smoothly are the maximum autocorrelation factors of Switzer and Green
    (1984). A step is measured by how much less likely the frames on both sides of a place are
    together than apart, if the series were Gaussian with its correlations.

    Examples
    --------
    A scan of 12 lines with 20 frames each over smooth hills, the first 5 frames of it missing:

    >>> import numpy as np
    >>> y, x = np.mgrid[:12, :20] / 3.0
    >>> hills = np.stack([np.sin(x + y * y / 3), np.cos(1.3 * x - 0.8 * y) + x / 4], axis=-1)
    >>> noise = np.random.default_rng(0).normal(size=hills.shape)
    >>> lines = content_lines((100 + 10 * hills + 0.5 * noise).reshape(-1, 2)[5:])
    >>> lines.length, lines.start
    (20, 15)
    """
    series = _prepare(parts)
    if series is None:
        return None
    ranking = _ranking(series, _candidates(series))
    if not ranking or ranking[0].score < 4:
        return None
    best = ranking[0]
    alternatives = tuple(dict.fromkeys(c.length for c in ranking[1:] if c.length != best.length))
    doubts = _doubts(series, best)
    serpentine = _is_serpentine(best)
    length, start = best.length, best.start
    if serpentine and best.rows:
        alternatives = (length, *alternatives)
        length //= 2
        start = best.rows.turn % length
    return LineContent(
        length=length,
        start=start,
        sure=not doubts,
        score=round(best.score, 2),
        reason=_reason(series, best, doubts),
        alternatives=alternatives[:5],
        serpentine=serpentine,
    )


def content_agrees(parts: npt.ArrayLike, length: int, start: int = 0) -> float | None:
    """Compare a line length that something else says with others, by what the images show.

    Parameters
    ----------
    parts : array_like of float, shape (frames, k)
        As for `content_lines`.
    length : int
        Frames of a line, those recorded during flyback included.
    start : int
        First stored frame that begins a line.

    Returns
    -------
    float or None
        How much the evidence for these lines exceeds that of the best others: 1 to 3 frames
        shorter or longer, multiples and divisors, what `content_lines` would look at, and the
        same length from another place on. In standard deviations, about. Above 0 nothing is as
        good; above 3 the images confirm these lines. Below 0 they speak against them: they show
        others, as surely as `content_lines` is sure. None if they say neither.
    """
    series = _prepare(parts)
    if series is None or length < 1:
        return None
    longest = len(series) // _FEWEST_LINES
    claim = None
    if _SHORTEST <= length <= longest:
        claim = _measure(series, length, start % length)
        claim = replace(claim, rows=_compare_rows(series, claim))
    rivals = {length + d for d in range(-3, 4)} | {k * length for k in (2, 3, 4)}
    rivals |= {length // k for k in range(2, 9) if length % k == 0}
    rivals |= set(_candidates(series))
    ranking = _ranking(series, sorted(r for r in rivals if _SHORTEST <= r <= longest))
    others = (r for r in ranking if (r.length, r.start) != (length, start % length))
    rival = next(others, None)
    lead = (claim.score if claim else 0.0) - (rival.score if rival else 0.0)
    if rival and lead < 0:
        return None if _doubts(series, rival) else round(lead, 2)
    return round(lead, 2) if claim and _is_shown(claim) else None


# ---------------------------------------------------------------- the decision


def _ranking(series: _Series, lengths: list[int]) -> list[_Lines]:
    """Lengths with what speaks for them, the best first."""
    ranking = sorted(
        (_measure(series, length) for length in lengths), key=lambda c: c.score, reverse=True
    )
    compared = [replace(c, rows=_compare_rows(series, c)) for c in ranking[:_COMPARED]]
    return sorted(compared, key=lambda c: c.score, reverse=True)


def _measure(series: _Series, length: int, start: int | None = None) -> _Lines:
    """Find where lines of this length begin, if not at `start`, and how clearly."""
    places = _fold(series.steps, length, series.scatter)
    whole = len(series) % length == 0
    if start is None:
        start = int(np.argmax(places))
        if whole and places[0] > places[start] - 2:
            start = 0  # what is made of whole lines mostly begins with one
    step = float(places[start])
    places[start] = -np.inf
    low = float(series.correlation[1:length].min(initial=np.inf))
    rise = float(series.correlation[length]) - low
    return _Lines(length, start, step, float(places.max()), rise, whole and start == 0)


def _doubts(series: _Series, lines: _Lines) -> list[str]:
    """Name what is missing for being sure.

    Thresholds are from simulated recordings. In a series of whole lines less will do: a length that
    divides the number of frames, with a line that begins at the first, is rare by chance.
    """
    doubts = []
    bonus = 1.5 if lines.whole else 0.0
    half = len(series) // 2
    halves = []
    for offset, part in ((0, series.steps[:half]), (half, series.steps[half:])):
        places = np.roll(_fold(part, lines.length, series.scatter), offset % lines.length)
        here = float(places[lines.start])
        places[lines.start] = -np.inf
        halves.append((here, here - float(places.max())))
    lead = lines.step - lines.rival
    if lines.step + bonus < 7:
        doubts.append("these steps are hardly larger than others")
    elif lead < max(3 - bonus / 2, lines.step / 4):
        doubts.append("other places of a line have steps nearly as large")
    elif min(here for here, _ in halves) < 1.5 or min(ahead for _, ahead in halves) < -0.5:
        doubts.append("the larger steps are not everywhere in the recording")
    rows = lines.rows
    if lines.rise < 0.15:
        doubts.append("frames one line apart resemble each other no more than others")
    elif rows is None or rows.excess < 1.5 or rows.share < 0.07:
        doubts.append("neighbouring lines share no more than a series that repeats in time")
    if rows and rows.mirrored > rows.direct:
        doubts.append("every other line may run backwards")
    return doubts


def _is_shown(lines: _Lines) -> bool:
    """Tell whether there is enough to confirm lines that something else says."""
    rows = lines.rows
    if rows is None or lines.step < max(4, lines.rival) or lines.rise < 0.1:
        return False
    return rows.excess > 1 and rows.share > 0.05 and rows.mirrored <= rows.direct


def _is_serpentine(lines: _Lines) -> bool:
    """Tell whether these are pairs of lines there and back."""
    rows = lines.rows
    if rows is None or lines.length % 2 or lines.length < 4 * _SHORTEST:
        return False  # short lines are mirrored by chance
    return rows.mirrored > max(rows.direct + 0.05, 0.3)


def _reason(series: _Series, lines: _Lines, doubts: list[str]) -> str:
    text = (
        f"frames resemble those {lines.length} frames later (correlation "
        f"{series.correlation[lines.length]:.2f}, {lines.rise:.2f} more than at a shorter "
        f"distance), and every {lines.length} frames, at frame {lines.start} first, the step from "
        f"one to the next is larger (by {lines.step:.1f} standard deviations; at other places by "
        f"{max(lines.rival, 0):.1f} at most)"
    )
    return text + (f"; not sure: {', '.join(doubts)}" if doubts else "")


# ---------------------------------------------------------------- what is measured


def _candidates(series: _Series) -> list[int]:
    """Lags at which the series resembles itself again, or its large steps come again."""
    n = len(series)
    lags = np.arange(_SHORTEST, n // _FEWEST_LINES + 1)
    r = series.correlation
    rise = r[lags] - np.minimum.accumulate(r[1:])[lags - 2]
    peak = (r[lags] >= r[lags - 1]) & (r[lags] >= r[lags + 1])
    noise = np.sqrt(1 - lags / n)  # fewer frames are so far apart
    peaks = _largest(np.where(peak, rise, -1) * noise)
    again = _by_lag(series.steps, len(lags) + _SHORTEST)[lags] / noise
    lengths = {int(lags[i]) + d for i in peaks for d in (-2, -1, 0, 1, 2)}
    lengths |= {int(lags[i]) for i in _largest(again)}
    return sorted(length for length in lengths if _SHORTEST <= length <= lags[-1])


def _largest(merit: Floats) -> list[int]:
    if len(merit) <= _PEAKS:
        return list(range(len(merit)))
    return [int(i) for i in np.argpartition(-merit, _PEAKS)[:_PEAKS]]


def _fold(steps: Floats, length: int, scatter: float) -> Floats:
    """How large steps at each place of a line are, in standard deviations of their mean."""
    lines = len(steps) // length
    total = steps[: lines * length].reshape(lines, length).sum(0)
    number = np.full(length, max(float(lines), 1.0))
    rest = steps[lines * length :]
    total[: len(rest)] += rest
    number[: len(rest)] = lines + 1
    result: Floats = total / (np.sqrt(number) * scatter)
    return result


def _compare_rows(series: _Series, lines: _Lines) -> _Rows:
    """Correlate neighbouring lines in what is left of them without what a drift explains.

    From each line its mean, a ramp and its share of the mean line are taken, then from each place
    what changes evenly from line to line. `excess` is how far the correlation of neighbouring
    lines exceeds that of lines shifted against each other, in standard deviations, and `share` is
    that correlation. `direct` is the correlation before anything is taken off, `mirrored` that
    with the line turned round `turn`.
    """
    length = lines.length
    number = (len(series) - lines.start) // length
    used = min(number, max(_FEWEST_LINES, _FRAMES_COMPARED // length))
    first = lines.start + (number - used) // 2 * length
    if used < _FEWEST_LINES:
        return _Rows(0.0, 0.0, 0.0, 0.0, 0)
    box = series.values[:, first : first + used * length].reshape(-1, used, length)
    box = box - box.mean((1, 2), keepdims=True)
    spectrum = np.fft.rfft(box)
    power = max(float((box**2).sum()), 1e-12)
    direct = float(_shifted(spectrum, length)[0]) * used / (used - 1) / power
    reflection = np.fft.irfft((spectrum**2).sum((0, 1)), length)[1::2]
    turn = (int(np.argmax(reflection)) + 1 + (first - lines.start)) % length
    turn = (turn + lines.start) % length

    trim = min(2, length // 8)  # a cycle that is not a whole number of frames long differs there
    box = box[:, :, trim : length - trim]
    length -= 2 * trim
    ramp = np.linspace(-1, 1, length)
    ramp /= np.sqrt((ramp**2).sum())
    box = box - box.mean(2, keepdims=True)
    box -= (box @ ramp)[..., None] * ramp
    mean = box.mean(1)
    size = (mean**2).sum(1).clip(1e-12)
    box -= (np.einsum("clp,cp->cl", box, mean) / size[:, None])[..., None] * mean[:, None]
    degree = 2 if used >= 16 else 1 if used >= 8 else 0
    even = np.linalg.qr(np.vander(np.linspace(-1, 1, used), degree + 1))[0]
    box -= even @ (even.T @ box)
    rest = float((box**2).sum())
    near = max(1, min(3, length // 8))
    shifts = _shifted(np.fft.rfft(box), length)
    far = shifts[near + 1 : length - near]
    excess = share = 0.0
    if len(far) > 1 and rest > 1e-9 * power:
        share = float(shifts[0]) / rest
        excess = float(shifts[0] - far.mean()) / max(float(far.std()), 1e-9 * rest)
    return _Rows(excess, share, direct, float(reflection.max()) / power, turn)


def _shifted(spectrum: npt.NDArray[np.complex128], length: int) -> Floats:
    """Sum of products of each line with the one before it, by how far it is shifted."""
    product = (spectrum[:, 1:] * spectrum[:, :-1].conj()).sum((0, 1))
    result: Floats = np.fft.irfft(product, length)
    return result


# ---------------------------------------------------------------- the series


def _prepare(parts: npt.ArrayLike) -> _Series | None:
    table = np.atleast_1d(np.asarray(parts, np.float64))
    if len(table) < _FEWEST_FRAMES or not table.size:
        return None
    table = table.reshape(len(table), -1)
    finite = np.isfinite(table)
    valid: Mask = np.logical_and(finite.all(1), np.where(finite, table, 0).any(1))
    if np.count_nonzero(valid) < _FEWEST_FRAMES:
        return None
    table = np.where(valid[:, None], table, 0)
    # the largest is 1; the root makes the noise of few and many counts the same
    table /= np.abs(table).max(0).clip(1e-300)
    table = np.sign(table) * np.sqrt(np.abs(table))
    table -= table.mean(0, where=valid[:, None])
    table[~valid] = 0
    values, weights = _components(table, valid)
    if not len(weights):
        return None
    n = len(table)
    lags = n // _FEWEST_LINES + 2
    pairs = n - np.arange(lags, dtype=np.float64)
    if not valid.all():
        pairs = np.maximum(np.rint(_by_lag(valid.astype(np.float64), lags)), 1)
    correlations = np.stack([_by_lag(series, lags) / pairs for series in values])
    steps = _steps(values, valid, correlations)
    return _Series(
        values * np.sqrt(weights)[:, None],
        weights @ correlations / weights.sum(),
        steps,
        max(float(steps.std()), 1e-9),
    )


def _components(table: Floats, valid: Mask) -> tuple[Floats, Floats]:
    """Combine parts to series with variance 1 that change little from frame to frame, and weigh.

    A series weighs as much as the square of its share that is not noise.
    """
    jumps = np.diff(table, axis=0)[valid[1:] & valid[:-1]]
    count = np.count_nonzero(valid)
    power, axes = np.linalg.eigh(table.T @ table / count)
    vary = power > max(float(power.max()) * 1e-10, 1e-24)
    if len(jumps) < _FEWEST_FRAMES // 2 or not vary.any():
        return np.empty((0, len(table))), np.empty(0)
    whiten = axes[:, vary] / np.sqrt(power[vary])
    jumps = jumps @ whiten
    roughness, turn = np.linalg.eigh(jumps.T @ jumps / (2 * len(jumps)))
    smooth = roughness < 1 - 2.5 / np.sqrt(count)  # 1 is noise
    smooth[_COMPONENTS:] = False
    return np.ascontiguousarray((table @ (whiten @ turn[:, smooth])).T), (
        1 - roughness[smooth]
    ) ** 2


def _by_lag(series: Floats, lags: int) -> Floats:
    """Sum of products of values so many frames apart."""
    reach = len(series) + lags
    size = min(k << max(0, (-(-reach // k) - 1).bit_length()) for k in (1, 3, 5, 9, 15))
    spectrum = np.fft.rfft(series, size)
    result: Floats = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[:lags]
    return result


def _steps(values: Floats, valid: Mask, correlations: Floats) -> Floats:
    """How little the frames before and from each frame on belong together, as scores.

    For each component it is twice the logarithm of the likelihood of both sides apart over that of
    both together, a quadratic form in the frames around the place. Only its positive part is used,
    which is large if they differ. Ranks of the sum over all components are turned into scores with
    an exponential distribution, since specimens are anything but Gaussian.
    """
    n = values.shape[1]
    width = 2 * _REACH
    lag = np.abs(np.subtract.outer(np.arange(width), np.arange(width)))
    inside = np.zeros(n, np.bool_)
    inside[_REACH : n - _REACH + 1] = np.convolve(valid, np.ones(width), "valid") > width - 0.5
    cut = np.zeros(n)
    for series, correlation in zip(values, correlations, strict=True):
        if len(correlation) < width:
            correlation = np.pad(correlation, (0, width - len(correlation)))
        together = correlation[lag] + 1e-3 * np.eye(width)
        apart = together.copy()
        apart[:_REACH, _REACH:] = apart[_REACH:, :_REACH] = 0
        power, axes = np.linalg.eigh(_inverse(together) - _inverse(apart))
        for strength, axis in zip(power, axes.T, strict=True):
            if strength > 0.02 * np.abs(power).max():
                side = np.convolve(series, axis[::-1], "valid")
                cut[_REACH : n - _REACH + 1] += strength * side**2
    scores = np.zeros(n)
    count = int(np.count_nonzero(inside))
    ranks = np.empty(count)
    ranks[np.argsort(cut[inside], kind="stable")] = (np.arange(count) + 0.5) / (count or 1)
    scores[inside] = -np.log1p(-ranks) - 1
    return scores


def _inverse(matrix: Floats) -> Floats:
    power, axes = np.linalg.eigh(matrix)
    result: Floats = axes / power.clip(1e-3) @ axes.T
    return result
