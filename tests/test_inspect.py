# SPDX-License-Identifier: GPL-3.0-or-later
"""The inspector page: what it holds, who may ask its server, and what people do with it."""

from __future__ import annotations

import ast
import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium
from click.testing import CliRunner
from samples import Sample
from writers import mib as mib_writer

import rsciio_tem
from rsciio_tem import cli
from rsciio_tem.errors import RecordingWarning
from rsciio_tem.recording.annotation import SUFFIX
from rsciio_tem.tools import inspect as inspect_module
from rsciio_tem.tools.inspect import Inspector, page
from rsciio_tem.tools.serve import Server
from rsciio_tem.tools.survey_of_frames import matches, packed, peaks

Array = np.ndarray[Any, Any]
LINES, COLUMNS = 24, 30


def specimen(lines: int = LINES, columns: int = COLUMNS) -> Array:
    """An image with slopes and grains, so that lines of a wrong length do not match."""
    y, x = np.mgrid[:lines, :columns]
    image = 40 + 2 * y + 30 * np.hypot(y - 9, x - 20) / 8
    image[(y - 15) ** 2 + (x - 8) ** 2 < 30] += 90
    return image


def patterns(image: Array, flyback: int = 0) -> Array:
    """Frames of 16 x 18 pixels with a disk as bright as the image, in the order of recording."""
    rows, columns = np.mgrid[:16, :18]
    disk = (rows - 7) ** 2 + (columns - 9) ** 2 <= 10
    ring = ~disk & ((rows - 7) ** 2 + (columns - 9) ** 2 > 20)
    image = np.concatenate([image, image[:, :1].repeat(flyback, 1) * 0.3], axis=1)
    values = image.reshape(-1, 1, 1)
    frames = np.where(disk, values * 4, 2) + np.where(ring, 300 - values, 0)
    return np.random.default_rng(1).poisson(np.maximum(frames, 1)).astype("u2")


@pytest.fixture
def timeless(tmp_path: Path) -> Path:
    """A recording whose shape nothing in the file tells."""
    path = tmp_path / "plain.npy"
    np.save(path, patterns(specimen()))
    return path


@pytest.fixture
def timed(tmp_path: Path) -> Path:
    """A Merlin recording with line ends in its times, three frames lost."""
    path = tmp_path / "lost.mib"
    times, exposures = mib_writer.scan_times((LINES, COLUMNS), jitter_ns=0)
    lost = [200, 201, 444]
    keep = np.delete(np.arange(LINES * COLUMNS), lost)
    mib_writer.write_mib(
        path,
        patterns(specimen())[keep],
        12,
        times_ns=np.asarray(times)[keep],
        exposures_ns=np.asarray(exposures)[keep],
        sequences=keep + 1,
    )
    return path


def inspected(path: Path, **options: Any) -> Inspector:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        return rsciio_tem.inspect(path, progress=False, **options)


def data_of(text: str) -> dict[str, Any]:
    """What a page holds, taken out of its text as a browser does."""
    content = text.partition('<script type="application/json" id="data">')[2]
    data: dict[str, Any] = json.loads(content.partition("</script>")[0])
    return data


def values_of(channel: dict[str, Any]) -> Array:
    kind = "<u2" if channel["bits"] == 16 else "u1"
    whole = np.frombuffer(base64.b64decode(channel["data"]), kind).astype(float)
    top = 2 ** channel["bits"] - 2
    return channel["low"] + (whole - 1) / top * (channel["high"] - channel["low"])


def run(*arguments: Any, status: int = 0) -> Any:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return result


# -- what is measured ----------------------------------------------------------------------------


def test_numbers_are_those_of_reduce(timeless: Path) -> None:
    inspector = inspected(timeless)
    data = data_of(inspector.html)
    around = data["geometry"]
    centre = (around["row"], around["column"])
    reduced = rsciio_tem.reduce(
        timeless,
        ("navigator", "sum", "com"),
        masks={
            "bf": rsciio_tem.Disk(around["radius"], centre),
            "adf": rsciio_tem.Annulus(around["inner"], around["outer"], centre),
        },
        progress=False,
    )
    expected = {
        "sum": reduced["navigator"],
        "bf": reduced["bf"],
        "adf": reduced["adf"],
        "row": reduced["com"][0],
        "column": reduced["com"][1],
    }
    assert [one["key"] for one in data["channels"]] == list(expected)
    for one in data["channels"]:
        values = np.asarray(expected[one["key"]], float)
        low, high = np.percentile(values, (0.1, 99.9))
        step = (high - low) / (2 ** one["bits"] - 2)
        clipped = np.clip(values, low, high)
        np.testing.assert_allclose(values_of(one), clipped, atol=0.51 * step)
    assert abs(around["row"] - 7) < 0.6
    assert abs(around["column"] - 9) < 0.6


@pytest.mark.parametrize("length", [17, 30, 41])
def test_lines_that_match(length: int) -> None:
    image = specimen(40, length).reshape(-1)
    curve = matches({"sum": image + np.random.default_rng(2).normal(0, 3, image.size)})
    best = peaks(curve)
    assert best[0][0] == length
    assert peaks(matches({"sum": np.random.default_rng(2).normal(0, 3, 2000)})) == []
    assert peaks(matches({"sum": np.ones(500)})) == []


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_few_frames(tmp_path: Path, count: int) -> None:
    np.save(tmp_path / "a.npy", patterns(specimen())[:count])
    assert data_of(inspected(tmp_path / "a.npy").html)["frames"] == count


@pytest.mark.parametrize(
    ("count", "names", "bits"),
    [
        (10_000, 5, 16),
        (200_000, 5, 16),
        (500_000, 5, 8),
        (1_000_000, 2, 8),
        (2_900_000, 1, 8),
    ],
)
def test_size_of_a_page(count: int, names: int, bits: int) -> None:
    """Whatever the number of frames, what a page holds of them stays below 4 MB."""
    channels = dict.fromkeys(("sum", "bf", "adf", "row", "column"), np.arange(count, dtype=float))
    kept, left_out = packed(channels)
    assert len(kept) == names
    assert len(kept) + len(left_out) == 5
    assert {one["bits"] for one in kept} == {bits}
    assert sum(len(one["data"]) for one in kept) < 3_900_000


def test_not_all_frames(timeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_module, "capacity", lambda: 500)
    data = data_of(inspected(timeless).html)
    assert data["frames"] == LINES * COLUMNS
    assert data["shown"] == 500


def test_fast(timeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsciio_tem.tools.survey_of_frames._QUICK", 0.0)
    monkeypatch.setattr("rsciio_tem.tools.survey_of_frames._PIECE", 1)
    data = data_of(inspected(timeless, fast=True).html)
    assert data["shown"] == 64
    assert data["frames"] == LINES * COLUMNS


def test_numbers_that_are_none(tmp_path: Path) -> None:
    frames = patterns(specimen()).astype("f4")
    frames[5] = np.nan
    frames[9] = np.inf
    frames[11] = 0
    np.save(tmp_path / "a.npy", frames)
    data = data_of(inspected(tmp_path / "a.npy").html)
    whole = np.frombuffer(base64.b64decode(data["channels"][0]["data"]), "<u2")
    assert whole[5] == whole[9] == 0
    assert whole[11] > 0


@pytest.mark.per_kind
def test_every_format(file_sample: Sample) -> None:
    """Whatever the format and the frames, there is a page, and it shows what is loaded."""
    options = {n: v for n, v in file_sample.options.items() if n not in ("mmap_mode", "chunks")}
    inspector = inspected(file_sample.path, format=file_sample.format, **options)
    data = data_of(inspector.html)
    recording = file_sample.parse()
    assert data["frames"] == recording.count // recording.layers
    assert data["shown"] == len(values_of(data["channels"][0]))


# -- candidates ----------------------------------------------------------------------------------


def frames_of(state: dict[str, Any], candidate: dict[str, Any], count: int) -> Array:
    """The frame of each position, as the page makes it of a candidate."""
    columns = state["line"] - state["flyback"]
    if "runs" in candidate:
        grid = np.full(np.prod(candidate["shape"]), -1)
        for position, frame, length in candidate["runs"]:
            grid[position : position + length] = frame + np.arange(length)
        return grid.reshape(-1, candidate["shape"][0])
    lines = int(np.prod(candidate["shape"][1:]))
    grid = state["first"] + np.arange(lines)[:, None] * state["line"] + np.arange(columns)
    if state["snake"]:
        grid[1::2] = grid[1::2, ::-1]
    return np.where(grid < count, np.maximum(grid, -1), -1)


@pytest.mark.parametrize(
    "options",
    [
        {"navigation_shape": (COLUMNS, LINES)},
        {"navigation_shape": (COLUMNS, LINES), "snake": True},
        {"navigation_shape": (COLUMNS - 2, LINES), "line_skip": 2},
        {"navigation_shape": (COLUMNS, LINES - 1), "first_frame": 11},
        {"navigation_shape": (COLUMNS, LINES), "sync_offset": -7},
        {"navigation_shape": (COLUMNS, LINES), "winding_scan_axis": "x", "hysteresis": 2},
        {"navigation_shape": (COLUMNS, 4, 6)},
        {"navigation_shape": (COLUMNS, 2)},
    ],
)
def test_first_candidate_is_what_is_loaded(
    timeless: Path, options: dict[str, Any], visit: Callable[..., Any]
) -> None:
    first, *_ = data_of(inspected(timeless, **options).html)["candidates"]
    grid = frames_of(first["state"], first, LINES * COLUMNS)
    tab = visit(page_of(timeless, **options))
    np.testing.assert_array_equal(shown_on(tab), grid)
    words = keywords_on(tab)
    seen = loaded(timeless, **words)
    np.testing.assert_array_equal(seen.reshape(-1, seen.shape[-1]), grid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        (signal,) = rsciio_tem.load(timeless, **options)
    stored = np.load(timeless)
    shown = np.where((grid >= 0)[..., None, None], stored[grid], 0)
    np.testing.assert_array_equal(shown, signal["data"].reshape(shown.shape))


def test_lost_frames(timed: Path) -> None:
    data = data_of(inspected(timed).html)
    first = data["candidates"][0]
    grid = frames_of(first["state"], first, data["frames"])
    assert grid.shape == (LINES, COLUMNS)
    assert np.flatnonzero(grid.ravel() < 0).tolist() == [200, 201, 444]
    assert first["keywords"] == {"navigation_shape": [COLUMNS, LINES]}
    assert data["times"]["lost"] == [[200, 2], [442, 1]]
    assert any("not recorded" in text for text in data["warnings"])


def test_what_a_side_file_says(timeless: Path) -> None:
    rsciio_tem.annotate(timeless, navigation_shape=(36, 20), scan_step="2 nm", notes="<i>")
    data = data_of(inspected(timeless).html)
    assert data["candidates"][0]["shape"] == [36, 20]
    assert data["side"]["kept"] == {"scan_step": "2 nm"}
    assert data["side"]["notes"] == "<i>"
    assert any(one["state"]["line"] == COLUMNS for one in data["candidates"])


# -- the page as a file --------------------------------------------------------------------------


def test_one_file(timeless: Path, tmp_path: Path) -> None:
    """Nothing is taken from elsewhere, and only our own script may run."""
    path = tmp_path / "page.html"
    result = run("inspect", timeless, "-o", path, "--no-open")
    assert str(path) in result.stdout
    text = path.read_text(encoding="utf-8")
    assert "@" not in re.sub(r"@media", "", text.partition("<body>")[0])
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", text)
    assert "default-src &#x27;none&#x27;" in text
    assert "connect-src &#x27;none&#x27;" in text
    assert path.stat().st_size < 200_000
    assert "exists already" in run("inspect", timeless, "-o", path, status=2).output
    run("inspect", timeless, "-o", path, "--overwrite", "--fast")
    assert "end with .html" in run("inspect", timeless, "-o", tmp_path / "a.png", status=2).output
    assert "--serve" in run("inspect", timeless, "-o", path, "--serve", status=2).output
    assert {p.name for p in tmp_path.iterdir()} == {"plain.npy", "page.html"}


def test_usual_name(timeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(timeless.parent)
    assert "plain_inspect.html" in run("inspect", "plain.npy").stdout
    assert Path("plain_inspect.html").is_file()


HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>&\u2028.npy"
)


def test_names_become_no_markup() -> None:
    data = {"name": HOSTILE, "server": False, "warnings": ["</title><script>1</script>"]}
    text = page(data)
    assert text.count("<script") == 2
    assert "window.hacked" in text
    assert "<img" not in text
    assert data_of(text) == data


def test_notebook(timeless: Path) -> None:
    inspector = inspected(timeless)
    text = inspector._repr_html_()
    assert text.startswith("<iframe sandbox=")
    assert "allow-same-origin" not in text
    source = text.partition('srcdoc="')[2].rpartition('"')[0]
    assert '"' not in source
    assert "<" not in source


# -- the server ----------------------------------------------------------------------------------


@pytest.fixture
def server(timeless: Path) -> Iterator[Server]:
    server = inspected(timeless).server()
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()


def asked(
    server: Server, what: str, content: Any = None, token: str | None = None, **headers: str
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = None if content is None else json.dumps(content)
    path = f"/{server.token if token is None else token}/{what}"
    connection.request("GET" if body is None else "POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    json_answer = answer.getheader("Content-Type") == "application/json"
    return answer.status, json.loads(text) if json_answer else text


def test_served_page(server: Server) -> None:
    status, text = asked(server, "")
    assert status == 200
    assert data_of(text)["server"] is True
    assert "connect-src &#x27;self&#x27;" in text
    assert server.http.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "example.org"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://example.org"},
        {"Origin": "null"},
    ],
)
def test_strangers_are_not_answered(server: Server, headers: dict[str, str]) -> None:
    assert asked(server, "", **headers)[0] == 404
    assert asked(server, "save", {"values": {"snake": True}}, **headers)[0] == 404
    assert not Path(str(server.recording.path) + SUFFIX).exists()


def test_only_with_the_token(server: Server) -> None:
    for token in ("", "x", server.token[:-1], server.token + "x", "../" + server.token, "é"):
        quoted = token.encode().decode("latin-1") if token != "é" else "%C3%A9"
        assert asked(server, "", token=quoted)[0] == 404
    assert len(server.token) >= 32


def test_single_patterns(server: Server, timeless: Path) -> None:
    _, answer = asked(server, "pattern?frame=33")
    assert (answer["rows"], answer["columns"]) == (16, 18)
    grey = np.frombuffer(base64.b64decode(answer["data"]), "u1").reshape(16, 18)
    pattern = np.load(timeless)[33]
    assert np.argmax(grey) in np.flatnonzero(pattern >= np.percentile(pattern, 99))
    for wrong in ("-1", "720", "x", "", "1e3"):
        assert "error" in asked(server, f"pattern?frame={wrong}")[1]


def test_other_detectors(server: Server, timeless: Path) -> None:
    question = {"row": 3.0, "column": 4.0, "radius": 2.5, "inner": 3.0, "outer": 6.0}
    _, answer = asked(server, "virtual", question)
    masks = {"bf": rsciio_tem.Disk(2.5, (3, 4)), "adf": rsciio_tem.Annulus(3, 6, (3, 4))}
    reduced = rsciio_tem.reduce(timeless, (), masks=masks, progress=False)
    assert [one["key"] for one in answer["channels"]] == ["bf", "adf"]
    for one in answer["channels"]:
        values = np.asarray(reduced[one["key"]], float)
        low, high = np.percentile(values, (0.1, 99.9))
        np.testing.assert_allclose(
            values_of(one), np.clip(values, low, high), atol=(high - low) / 60000
        )
    for wrong in ({}, {**question, "row": "x"}, {**question, "row": float("nan")}, [], None):
        assert "error" in asked(server, "virtual", wrong)[1] or wrong is None


def test_saving(server: Server, timeless: Path) -> None:
    values = {"navigation_shape": [COLUMNS, LINES], "scan_step": "2 nm"}
    _, answer = asked(server, "save", {"values": values, "notes": "seen"})
    assert answer == {"path": str(timeless) + SUFFIX}
    annotation = rsciio_tem.open(timeless).annotation
    assert annotation.values == values
    assert annotation.written["by"] == "the inspector of rsciio-tem"
    asked(server, "save", {"values": {"navigation_shape": [COLUMNS, LINES]}, "notes": ""})
    annotation = rsciio_tem.open(timeless).annotation
    assert annotation.values == {"navigation_shape": [COLUMNS, LINES]}
    for wrong in (
        {"navigation_shape": [31, 24]},
        {"dark": "../a.npy"},
        {"path": "x"},
        {"roi": [1]},
        3,
    ):
        assert "error" in asked(server, "save", {"values": wrong})[1]
    assert rsciio_tem.open(timeless).annotation.values == annotation.values
    Path(str(timeless) + SUFFIX).write_text("somebody's", encoding="utf-8")
    assert "delete it first" in asked(server, "save", {"values": values})[1]["error"]
    assert Path(str(timeless) + SUFFIX).read_text(encoding="utf-8") == "somebody's"
    assert asked(server, "save", {"values": "x" * 70_000})[0] == 413


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way")
def test_ends_with_ctrl_c(timeless: Path) -> None:
    command = [sys.executable, "-m", "rsciio_tem.cli", "inspect", str(timeless), "--serve"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped" in errors
    assert "Traceback" not in errors + output


# -- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens pages; at the end none may have complained."""
    complaints: list[str] = []
    contexts = []

    def visit(address: str, width: int = 1280, **more: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, accept_downloads=True, **more
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        tab.on("request", lambda r: complaints.append(r.url) if not ours(r.url) else None)
        tab.goto(address)
        settle(tab)
        return tab

    def ours(url: str) -> bool:
        return url.startswith(("file:", "http://127.0.0.1:", "blob:", "data:"))

    yield visit
    for context in contexts:
        context.close()
    assert not complaints


def settle(tab: Any) -> None:
    """Wait until what was asked for is drawn."""
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def wait_for(tab: Any, place: str, pattern: str) -> None:
    """Wait until a text matches."""
    until = time.monotonic() + 20
    while not re.match(pattern, tab.locator(place).inner_text()):
        assert time.monotonic() < until, tab.locator(place).inner_text()
        tab.wait_for_timeout(20)


def keywords_on(tab: Any) -> dict[str, Any]:
    """The keywords that a page says, as Python reads them."""
    settle(tab)
    call = ast.parse(tab.locator("#keywords").inner_text(), mode="eval").body
    assert isinstance(call, ast.Call)
    words = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
    assert words.pop("lazy") is True
    return words


def shown_on(tab: Any) -> Array:
    """The frame of each position, as the page shows it."""
    text = tab.evaluate(
        "(() => { const a = arranged(); return [a.columns, a.shown, Array.from(a.index)]; })()"
    )
    columns, lines, index = text
    return np.array(index).reshape(lines, columns)


def loaded(path: Path, **options: Any) -> Array:
    """The frame of each position that is loaded, found by its pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        (stored,) = rsciio_tem.load(path, scan="stack")
        (signal,) = rsciio_tem.load(path, **options)
    numbers = {frame.tobytes(): i for i, frame in enumerate(stored["data"])}
    shape = signal["data"].shape[:-2]
    frames = signal["data"].reshape(-1, *signal["data"].shape[-2:])
    return np.array([numbers.get(frame.tobytes(), -1) for frame in frames]).reshape(shape)


def drag(tab: Any, name: str, value: int) -> None:
    """Drag a slider with the mouse until its number is near a value, then use the keys."""
    slider = tab.locator(f"#{name}-slider")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    low, high = (int(slider.get_attribute(one)) for one in ("min", "max"))
    y = box["y"] + box["height"] / 2

    def place(number: float) -> float:
        return box["x"] + 8 + (box["width"] - 16) * (number - low) / (high - low)

    tab.mouse.move(place(int(slider.input_value())), y)
    tab.mouse.down()
    for part in (0.25, 0.5, 0.75, 1):
        start = int(slider.input_value())
        tab.mouse.move(place(start + part * (value - start)), y)
        settle(tab)
    tab.mouse.up()
    for _ in range(40):
        now = int(slider.input_value())
        if now == value:
            break
        tab.keyboard.press("ArrowRight" if now < value else "ArrowLeft")
    assert int(slider.input_value()) == value


def saved_on(tab: Any, folder: Path) -> Path:
    with tab.expect_download() as download:
        tab.locator("#save").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def page_of(path: Path, **options: Any) -> str:
    target = path.with_suffix(".html")
    inspected(path, output=target, overwrite=True, **options)
    return target.as_uri()


def test_a_person_finds_the_shape(timeless: Path, visit: Callable[..., Any]) -> None:
    """From a recording of which nothing is known to the right signal in HyperSpy."""
    import hyperspy.api as hs

    tab = visit(page_of(timeless))
    drag(tab, "line", 25)
    wrong = tab.evaluate("resemblance(arranged())")
    assert keywords_on(tab)["navigation_shape"] == (25, LINES * COLUMNS // 25)
    before = tab.locator("#scan").screenshot()
    drag(tab, "line", COLUMNS)
    assert tab.locator("#scan").screenshot() != before
    assert tab.evaluate("resemblance(arranged())") > wrong + 0.1
    assert keywords_on(tab) == {"navigation_shape": (COLUMNS, LINES)}
    tab.locator("#scan-step").fill("0.5 nm")
    tab.locator("#with-centre").check()
    tab.locator("#notes").fill('"<µ>\\ ')
    side = saved_on(tab, timeless.parent)
    assert side.name == timeless.name + SUFFIX
    signal = hs.load(str(timeless))
    np.testing.assert_array_equal(signal.data, np.load(timeless).reshape(LINES, COLUMNS, 16, 18))
    assert [axis.scale for axis in signal.axes_manager.navigation_axes] == [0.5, 0.5]
    assert abs(signal.axes_manager.signal_axes[0].offset + 9) < 0.6
    assert rsciio_tem.open(timeless).annotation.notes == '"<µ>\\'
    assert rsciio_tem.check(timeless) == []


STATES = [
    {"line": 30, "first": 0},
    {"line": 30, "first": 17},
    {"line": 30, "first": -4},
    {"line": 31, "first": 2, "flyback": 3},
    {"line": 30, "first": 0, "snake": True},
    {"line": 29, "first": -3, "flyback": 1, "snake": True},
    {"line": 7, "first": 100},
    {"line": 720, "first": 0},
]


@pytest.mark.parametrize("which", ["timeless", "timed"])
def test_keywords_load_what_is_seen(
    which: str, request: pytest.FixtureRequest, visit: Callable[..., Any]
) -> None:
    """Whatever is set, the keywords and the side file give the picture that is shown."""
    path: Path = request.getfixturevalue(which)
    tab = visit(page_of(path))
    for state in STATES:
        for name in ("line", "first", "flyback"):
            tab.locator(f"#{name}").fill(str(state.get(name, 0)))
        tab.locator("#snake").set_checked(bool(state.get("snake")))
        words = keywords_on(tab)
        seen = shown_on(tab)
        if not seen.size:
            continue
        if seen.shape[0] == 1:
            words["navigation_shape"] = (words["navigation_shape"][0], 1)
        np.testing.assert_array_equal(loaded(path, **words), seen, err_msg=str(state))
        side = saved_on(tab, path.parent)
        np.testing.assert_array_equal(loaded(path), seen, err_msg=str(state))
        side.unlink()


def test_keywords_of_formats_are_kept(tmp_path: Path, visit: Callable[..., Any]) -> None:
    """Two frames per position, and raw pixels: the line to paste has what it takes."""
    frames = patterns(specimen())
    layered, bare = tmp_path / "two.mib", tmp_path / "a.raw"
    mib_writer.write_mib(layered, np.repeat(frames, 2, axis=0), 12)
    frames.tofile(bare)
    tab = visit(page_of(layered, layers=2))
    tab.locator("#line").fill("30")
    tab.locator("#first").fill("3")
    words = keywords_on(tab)
    assert words.pop("layers") == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        (signal,) = rsciio_tem.load(layered, layers=2, **words)
    seen = shown_on(tab)
    for layer in signal["data"]:
        np.testing.assert_array_equal(layer, frames[seen][..., ::-1, :])
    tab = visit(page_of(bare, format="raw", dtype=np.dtype("<u2"), sig_shape=(16, 18)))
    tab.locator("#line").fill("30")
    call = tab.locator("#keywords").inner_text()
    assert call.startswith("rsciio_tem.load(")
    words = keywords_on(tab)
    assert words == {
        "format": "raw",
        "dtype": "<u2",
        "sig_shape": (16, 18),
        "navigation_shape": (30, 24),
    }
    np.testing.assert_array_equal(
        rsciio_tem.load(bare, **words)[0]["data"], frames.reshape(24, 30, 16, 18)
    )


def test_lost_frames_are_seen(timed: Path, visit: Callable[..., Any]) -> None:
    tab = visit(page_of(timed))
    seen = shown_on(tab)
    assert (seen < 0).sum() == 3
    assert keywords_on(tab) == {"navigation_shape": (COLUMNS, LINES)}
    np.testing.assert_array_equal(loaded(timed, **keywords_on(tab)), seen)
    assert "3 without a frame" in tab.locator("#shape").inner_text()
    assert "3 frame numbers are missing" in tab.locator("#clock-text").inner_text()
    side = saved_on(tab, timed.parent)
    np.testing.assert_array_equal(loaded(timed), seen)
    side.unlink()
    tab.locator("#first").fill("1")  # now as frames follow each other
    assert keywords_on(tab)["sync_offset"] == 1
    assert (shown_on(tab) < 0).sum() == 0
    tab.locator("#candidates button").first.click()
    settle(tab)
    np.testing.assert_array_equal(shown_on(tab), seen)


def test_keyboard(timeless: Path, visit: Callable[..., Any]) -> None:
    tab = visit(page_of(timeless))
    tab.locator("#scan").focus()
    tab.locator("#line").fill("28")
    tab.locator("#scan").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowDown"):
        tab.keyboard.press(key)
    assert keywords_on(tab) == {"navigation_shape": (30, 23), "first_frame": 11}
    reached = set()
    tab.locator("body").click(position={"x": 2, "y": 2})
    for _ in range(60):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"scan", "line", "line-slider", "first", "flyback", "snake", "copy", "save"} <= reached
    assert {"keywords", "pattern", "radius", "channel", "notes"} <= reached


def test_marks_of_the_curve(timeless: Path, visit: Callable[..., Any]) -> None:
    tab = visit(page_of(timeless))
    tab.locator("#line").fill("44")
    box = tab.locator("#curve").bounding_box()
    x = tab.evaluate("curveScale().x(data.peaks[0][0])")
    tab.locator("#curve").click(position={"x": x + 4, "y": box["height"] / 2})
    assert keywords_on(tab)["navigation_shape"] == (COLUMNS, LINES)


def test_detectors_are_dragged(timeless: Path, visit: Callable[..., Any]) -> None:
    tab = visit(page_of(timeless))
    box = tab.locator("#pattern").bounding_box()
    scale = box["width"] / 18
    tab.locator("#pattern").scroll_into_view_if_needed()
    box = tab.locator("#pattern").bounding_box()
    tab.mouse.move(box["x"] + 9.5 * scale, box["y"] + 7.5 * scale)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 11.5 * scale, box["y"] + 5.5 * scale, steps=4)
    tab.mouse.up()
    settle(tab)
    assert "(5, 11)" in tab.locator("#reduce").inner_text()
    tab.locator("#radius").fill("4")
    settle(tab)
    code = tab.locator("#reduce").inner_text()
    assert "rt.Disk(4, (5, 11))" in code
    names: dict[str, Any] = {}
    exec(code.replace(json.dumps(str(timeless)), repr(str(timeless))), names)
    assert names["images"]["bf"].shape == (LINES * COLUMNS,)


def test_hostile_texts_stay_texts(tmp_path: Path, visit: Callable[..., Any]) -> None:
    name = "<img src=x onerror=window.hacked=1>'\"&.npy"
    try:
        np.save(tmp_path / name, patterns(specimen()))
    except OSError:
        pytest.skip("this system has no such names")
    rsciio_tem.annotate(tmp_path / name, navigation_shape=(30, 24), notes="</textarea><b>")
    inspected(tmp_path / name, output=tmp_path / "a.html")
    tab = visit((tmp_path / "a.html").as_uri())
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("#name").inner_text() == name
    assert tab.locator("#notes").input_value() == "</textarea><b>"
    assert tab.locator("img").count() == 0
    assert ast.parse(tab.locator("#keywords").inner_text(), mode="eval")
    (tmp_path / (name + SUFFIX)).unlink()
    saved_on(tab, tmp_path)
    downloaded = next(p for p in tmp_path.iterdir() if p.name.endswith(".toml"))
    downloaded.rename(tmp_path / (name + SUFFIX))  # browsers change such names
    assert rsciio_tem.load(tmp_path / name)[0]["data"].shape[:2] == (24, 30)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_fits_the_screen(timed: Path, visit: Callable[..., Any], width: int, scheme: str) -> None:
    tab = visit(page_of(timed), width, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    level = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
    assert level > 200 if scheme == "light" else level < 60
    for text in ("#shape", "#keywords", "#clock-text"):
        box = tab.locator(text).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_copying(timeless: Path, visit: Callable[..., Any]) -> None:
    tab = visit(page_of(timeless))
    tab.locator("#copy").click()
    wait_for(tab, "#copied", "copied")
    tab.locator("#notes").fill("")
    tab.locator("#notes").focus()
    tab.keyboard.press("Control+V")
    assert tab.locator("#notes").input_value() == tab.locator("#keywords").inner_text()


def test_in_a_notebook(timeless: Path, visit: Callable[..., Any]) -> None:
    text = f"<!doctype html><meta charset=utf-8>{inspected(timeless)._repr_html_()}"
    target = timeless.with_name("notebook.html")
    target.write_text(text, encoding="utf-8")
    tab = visit(target.as_uri())
    frame = tab.frame_locator("iframe")
    frame.locator("#candidates button").first.wait_for()
    assert "30 × 24" in frame.locator("#shape").inner_text()


def test_with_a_server(server: Server, timeless: Path, visit: Callable[..., Any]) -> None:
    tab = visit(server.address)
    box = tab.locator("#scan").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait_for(tab, "#pattern-text", r"Frame \d+")
    under = re.search(r"frame (\d+)", tab.locator("#under").inner_text())
    assert under is not None
    assert f"Frame {under[1]}." in tab.locator("#pattern-text").inner_text()
    before = tab.evaluate("Array.from(channels.bf.values)")
    tab.locator("#radius").fill("6")
    tab.locator("#measure").click()
    wait_for(tab, "#measured", "$")
    assert tab.evaluate("Array.from(channels.bf.values)") != before
    tab.locator("#line").fill("30")
    tab.locator("#save").click()
    wait_for(tab, "#saved", ".* is written")
    assert rsciio_tem.load(timeless)[0]["data"].shape == (LINES, COLUMNS, 16, 18)
    tab.locator("#scan-step").fill("wide")
    tab.locator("#save").click()
    wait_for(tab, "#saved", ".* a number and a unit")
