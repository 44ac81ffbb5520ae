# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to the workers of a cluster, and how much; reductions and lazy signals there.

The tests with a cluster come last: it costs time as long as it runs.
"""

from __future__ import annotations

import os
import pickle
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from conftest import REPOSITORY
from samples import Sample, Spec
from writers import raw as raw_writer
from writers import raw_csr as raw_csr_writer

import rsciio_tem
from rsciio_tem import Disk
from rsciio_tem.errors import FormatError, RecordingWarning
from rsciio_tem.frames.arrays import ArrayFrames, InMemory
from rsciio_tem.frames.combined import Chain
from rsciio_tem.frames.corrections import Corrected
from rsciio_tem.frames.protocol import FramesBase, OrderedFrames, ReadAs
from rsciio_tem.frames.table import FrameTable, runs_of
from rsciio_tem.reading.arrange import arrange
from rsciio_tem.reduction import plan as plan_module
from rsciio_tem.reduction import workers
from rsciio_tem.reduction.plan import _Task
from rsciio_tem.reduction.single_pass import one_pass
from rsciio_tem.reduction.task_payload import TaskPayload
from rsciio_tem.reduction.workers import _TOGETHER, _merged_on_worker, _stripe_on_worker
from rsciio_tem.storage.machine import threads

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:distributed")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client


@pytest.fixture
def small_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide recordings of a few frames, too, and merge them in several levels of groups."""
    monkeypatch.setattr(plan_module, "_STRIPES", 5)
    monkeypatch.setattr(plan_module, "_STRIPE", 1)
    monkeypatch.setattr(plan_module, "_BLOCK", 1)
    monkeypatch.setattr(workers, "_TOGETHER", 2)


def tasks_known(dask_scheduler: Any) -> list[str]:
    return [key for key in map(str, dask_scheduler.tasks) if "on_worker" in key]


def wait_until_idle(client: Any) -> None:
    """Wait until the scheduler has forgotten every stripe."""
    deadline = time.monotonic() + 10
    while left := client.run_on_scheduler(tasks_known):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def holes(path: Path, count: int, frame: int = 64) -> Path:
    """Make a file of so many frames of 8-bit pixels, without a byte on the disk."""
    path.touch()
    os.truncate(path, count * frame**2)
    return path


# -- what is sent --------------------------------------------------------------------------------


class Inline:
    """Stands for a client: does everything at once and notes what it would send."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.waiting = self.most_waiting = 0

    def nthreads(self) -> dict[str, int]:
        return {"a worker": 2}

    def submit(self, function: Callable[..., Any], *args: Any, **options: Any) -> InlineFuture:
        del options
        known = [None if isinstance(arg, InlineFuture) else arg for arg in args]
        if function is _merged_on_worker:
            known = [None]
            args = ([future.value for future in args[0]],)
        else:
            args = tuple(arg.value if isinstance(arg, InlineFuture) else arg for arg in args)
        self.sent.append((function.__name__, len(pickle.dumps(known))))
        if function is _stripe_on_worker:
            self.waiting += 1
            self.most_waiting = max(self.waiting, self.most_waiting)
        return InlineFuture(self, pickle.dumps(function(*args)))

    def cancel(self, futures: Any) -> None:
        raise AssertionError("nothing went wrong")

    def sizes(self, name: str) -> list[int]:
        return [size for function, size in self.sent if function == name]


class InlineFuture:
    def __init__(self, client: Inline, content: bytes) -> None:
        self.client, self.content = client, content

    @property
    def value(self) -> Any:
        return pickle.loads(self.content)  # as another machine gets it

    def exception(self) -> None:
        self.client.waiting -= 1

    def result(self) -> Any:
        return self.value


def test_tasks_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of frames: masks and dark frame go there once, orders in slices."""
    monkeypatch.setattr(plan_module, "_STRIPE", 1 << 18)
    masks = np.random.default_rng(0).random((3, 32, 32))
    sizes = {}
    for count in (1000, 1_000_000):
        path = holes(tmp_path / f"{count}.raw", count, 32)
        frames = rsciio_tem.open(path, "raw", dtype="u1", sig_shape=(32, 32)).frames
        order = np.arange(count).reshape(-1, 100)
        order[1::2] = order[1::2, ::-1].copy()
        there_and_back = frames[order.reshape(-1)]
        options: dict[str, Any] = {"dark": np.zeros((32, 32))}
        corrected = arrange(
            rsciio_tem.open(path, "raw", dtype="u1", sig_shape=(32, 32)), options=options
        ).source.frames
        assert isinstance(corrected, Corrected)
        for name, some in {"a": frames, "b": there_and_back, "c": corrected}.items():
            if count > 1000:
                some = some[: count // 10]  # the others are only described
            inline = Inline()
            one_pass(some, what=("sum",), masks=masks, client=inline)
            (common,) = inline.sizes("_same")
            assert masks.nbytes < common < masks.nbytes + 10_000
            assert max(inline.sizes("_merged_on_worker"), default=0) < 100
            sizes[count, name] = max(inline.sizes("_stripe_on_worker"))
    assert max(sizes.values()) < 3000
    for name in "abc":
        assert abs(sizes[1000, name] - sizes[1_000_000, name]) < 1000


def test_random_order_goes_in_slices() -> None:
    frames = FrameTable((), runs_of([(0, 0, 8, 100_000)]), _pixels())
    order = np.random.default_rng(0).permutation(100_000)
    shuffled = frames[order]
    payload = TaskPayload.of(shuffled[:0], shuffled[:1])
    sent = payload.pack(shuffled[500:1500])
    assert 4000 < len(sent) < 5500
    assert payload.unpack(sent).order.tolist() == order[500:1500].tolist()


def _pixels() -> Any:
    from rsciio_tem.frames.pixels import Pixels

    return Pixels((2, 2), np.dtype("<u2"))


def test_tables_go_once(tmp_path: Path) -> None:
    """What describes many files is common to all tasks."""
    from rsciio_tem.storage.backends import DataFile

    files = tuple(DataFile(f"/data/frame_{i:06}.raw", 8, 0) for i in range(20_000))
    runs = runs_of([(i, 0, 8, 1) for i in range(20_000)])
    table = FrameTable(files, runs, _pixels())
    blank_first = table[np.arange(-1, 19_999)]
    chain = Chain(tuple(table[i : i + 1] for i in range(0, 20_000, 50)), np.dtype("u2"))
    for frames in (table, blank_first, chain):
        payload = TaskPayload.of(frames[:0], frames[:1])
        sent = payload.pack(frames[100:200])
        assert len(sent) < 6000
        again = payload.unpack(sent)
        assert len(again) == 100
        if isinstance(frames, FrameTable):
            spans = [(s.first, s.file, s.start, s.count) for s in frames[100:200].spans()]
            assert [(s.first, s.file, s.start, s.count) for s in again.spans()] == spans
        else:
            assert again._ends.tolist() == frames._ends.tolist()


def test_orders_survive_pickling() -> None:
    rng = np.random.default_rng(0)
    lines = np.arange(10_000).reshape(100, 100)
    lines[1::2] = lines[1::2, ::-1].copy()
    orders = {
        "back and forth": lines.reshape(-1),
        "flyback": np.arange(10_000).reshape(100, 100)[:, :-7].reshape(-1),
        "every third": np.arange(0, 9999, 3),
        "backwards": np.arange(10_000)[::-1],
        "blanks": np.where(np.arange(10_000) < 3000, -1, np.arange(10_000)),
        "only blanks": np.full(1000, -1),
        "random": rng.permutation(10_000),
        "some": np.flatnonzero(rng.random(10_000) < 0.3),
        "far away": np.array([0, 1 << 62, 5, -1, (1 << 62) - 1] * 100),
        "short": np.array([5, 3]),
        "empty": np.zeros(0, np.int64),
    }
    for name, order in orders.items():
        for frames in (
            FrameTable((), runs_of([(0, 0, 8, 10_000)]), _pixels(), order),
            ArrayFrames(InMemory(None), (10_000,), (2, 2), np.dtype("u2"), order),
        ):
            assert isinstance(frames, OrderedFrames)
            content = pickle.dumps(frames)
            again = pickle.loads(content)
            np.testing.assert_array_equal(again.order, order, err_msg=name)
            assert again.order.dtype == np.int64
            per_frame = {"random": 2, "some": 1, "far away": 8}.get(name, 0)
            per_line = {"flyback": 32, "back and forth": 32}.get(name, 0)
            assert len(content) < 1500 + per_frame * len(order) + 100 * per_line, name


def test_no_more_unfinished_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "_STRIPES", 500)
    monkeypatch.setattr(plan_module, "_STRIPE", 1)
    monkeypatch.setattr(plan_module, "_BLOCK", 1)
    frames: Any = Deadly(range(500), "")
    inline: Any = Inline()
    found = one_pass(frames, what=("sum",), client=inline)
    assert (found["sum"] == sum(range(500))).all()
    assert len(inline.sizes("_stripe_on_worker")) == 500
    assert inline.most_waiting <= 2 * 2 + _TOGETHER
    # one share comes to the client; the others are merged in groups of 8
    assert len(inline.sizes("_merged_on_worker")) == 63 + 8 + 1


def test_merging_leaves_the_shares_as_they_are() -> None:
    """dask keeps them, and takes them again where a result got lost."""
    data = np.random.default_rng(0).integers(0, 255, (6, 8, 8), np.uint8)
    what = frozenset({"navigator", "sum", "max", "com", "variance"})
    for kind in (np.uint8, np.float32):
        task = _Task(what, (8, 8), np.dtype(kind), {"masks": np.ones((2, 64))})
        held = ArrayFrames(InMemory(data.astype(kind)), (6,), (8, 8), np.dtype(kind))
        shares = [task.stripe(held[i : i + 2], 1) for i in (0, 2, 4)]
        before = pickle.dumps(shares)
        first, again = (_merged_on_worker(shares) for _ in range(2))
        assert pickle.dumps(shares) == before
        for name, quantity in first.items():
            assert quantity.result().tobytes() == again[name].result().tobytes()
        assert first["sum"].result().tolist() == data.sum(axis=0).reshape(-1).tolist()


def test_shares_carry_no_weights() -> None:
    weights = {"masks": np.ones((9, 64 * 64))}
    task = _Task(frozenset({"sum", "variance"}), (64, 64), np.dtype("u1"), weights)
    frames: Any = ArrayFrames(InMemory(np.ones((5, 64, 64), "u1")), (5,), (64, 64), np.dtype("u1"))
    share = task.stripe(frames, 5)
    # sums in 32 bits twice, squares in 64
    assert len(pickle.dumps(share)) < (4 + 4 + 8) * 64 * 64 + 5000


def test_graph_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    """As many chunks have a graph of the same size, and chunks have few bytes of it."""
    import cloudpickle

    sizes = {}
    for count in (1000, 1_000_000):
        path = holes(tmp_path / f"{count}.raw", count)
        for snake in (False, True):
            options: dict[str, Any] = {"dtype": "u1", "sig_shape": (64, 64), "snake": snake}
            shape = (count // 50, 50)
            chunks = (count // 500, 50)
            (signal,) = rsciio_tem.load(
                path, "raw", lazy=True, nav_shape=shape, chunks=chunks, **options
            )
            graph = signal["data"].sum(axis=(2, 3)).dask
            sizes[count, snake] = len(cloudpickle.dumps(graph))
            assert len(dict(graph)) < 50
    assert abs(sizes[1000, False] - sizes[1_000_000, False]) < 200
    assert sizes[1_000_000, False] < 20_000
    # two steps for each of 20 000 lines, instead of a million numbers
    assert sizes[1_000_000, True] < sizes[1000, True] + 32 * 20_000 + 2000


def test_specs_are_complete(sample_of: Callable[[Spec], Sample]) -> None:
    """A new format is tested here, too: `sample` has one of each."""
    from samples import SPECS

    assert {spec.format for spec in SPECS if spec.has_file} == set(rsciio_tem.registry.FORMATS)


@pytest.mark.parametrize("snake", [False, True])
def test_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snake: bool) -> None:
    """What ``docs/clusters.md`` says of large recordings, on one of 0.1 TB of holes."""
    monkeypatch.syspath_prepend(REPOSITORY)
    from benchmarks import plan

    try:
        found = plan.plan(tmp_path, 0.1, 256, snake=snake)
    except OSError:
        pytest.skip("no files with holes here")
    assert 0.99e11 < found.frames * found.frame_bytes <= 1e11
    assert found.stripes == 64
    assert found.stripe_bytes < 2.2e9
    assert found.sent < 2000
    assert found.lazy_graph < 60 * found.lazy_chunks + (40_000 if snake else 5000)
    assert plan.merges(500) == 63 + 8 + 1
    assert plan.merges(9) == 2
    assert plan.merges(1) == 0


# -- every kind of frames ------------------------------------------------------------------------


def quantities(sample: Sample) -> tuple[list[Any], list[Any]]:
    """Return what can be found out about a sample, and masks."""
    what = ["navigator", "sum", "mean", "max"]
    if sample.expected.dtype.kind != "c":
        what.append("variance")
        if sample.sig_dims == 2:
            what.append("com")
    weights = np.random.default_rng(3).random((2, *sample.frame_shape))
    return what, [*weights, weights[0] > 0.5]


@pytest.mark.per_kind
@pytest.mark.usefixtures("small_stripes")
def test_reduce(sample: Sample, client: Any) -> None:
    """The result is that of one thread, to the last bit."""
    if sample.expected.dtype.kind == "V":
        pytest.skip("colours are not added up")
    what, masks = quantities(sample)
    source: Any = sample.path
    options: dict[str, Any] = {"format": sample.format, **sample.options}
    if source is None:
        source, options = sample.read_quietly(lazy=True), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        if sample.expected.dtype.kind == "u" and sample.expected.max() > 1 << 60:
            with pytest.raises(OverflowError, match="do not fit into 64 bits"):
                rsciio_tem.reduce(source, what, client=client, **options)
            return
        ours = rsciio_tem.reduce(source, what, masks=masks, threads=1, **options)
        theirs = rsciio_tem.reduce(source, what, masks=masks, client=client, **options)
    assert set(ours) == set(theirs) == {*what, "masks"}
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype
        assert ours[name].tobytes() == theirs[name].tobytes(), name


@pytest.mark.per_kind
def test_lazy_signals(sample: Sample, client: Any) -> None:
    data = sample.read(lazy=True)["data"]
    future = client.compute(data.rechunk({0: 1}) if data.ndim > 2 else data)
    np.testing.assert_array_equal(future.result(timeout=60), sample.expected)


def test_many_stripes(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of floats depend on the order in which they are added up; it is the same."""
    monkeypatch.setattr(plan_module, "_STRIPE", 1)
    monkeypatch.setattr(plan_module, "_BLOCK", 1)
    data = np.random.default_rng(0).standard_normal((150, 16, 16)) * 1e6
    path = raw_writer.write_raw(tmp_path / "a.raw", data)
    options: dict[str, Any] = {"dtype": "<f8", "sig_shape": (16, 16), "format": "raw"}
    what = ["navigator", "sum", "variance", "com"]
    seen: list[int] = []
    ours = rsciio_tem.reduce(path, what, threads=2, **options)
    theirs = rsciio_tem.reduce(path, what, client=client, progress=seen.append, **options)
    assert sum(seen) == 150
    assert len(seen) == 50
    for name in ours:
        assert ours[name].tobytes() == theirs[name].tobytes(), name
    np.testing.assert_allclose(ours["sum"], data.sum(axis=0), atol=1e-6)
    np.testing.assert_allclose(ours["variance"], data.var(axis=0))
    wait_until_idle(client)


def test_dense_and_sparse_files(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "_STRIPE", 1 << 14)
    monkeypatch.setattr(plan_module, "_STRIPE_ENTRIES", 4000)
    data = np.random.default_rng(2).integers(0, 5000, (48, 32, 48), np.uint16)
    dense = raw_writer.write_raw(tmp_path / "dense.raw", data)
    sparse = raw_csr_writer.write_raw_csr(tmp_path / "sparse.toml", (data % 90 == 0) * data)
    what = ("navigator", "sum", "max", "com", "variance")
    layout: dict[str, Any] = {"dtype": "<u2", "sig_shape": (32, 48), "format": "raw"}
    for path, options in ((dense, layout), (sparse, {})):
        seen: list[int] = []
        ours = rsciio_tem.reduce(path, what, masks=[Disk(8)], **options)
        theirs = rsciio_tem.reduce(
            path, what, masks=[Disk(8)], client=client, progress=seen.append, **options
        )
        assert sum(seen) == 48
        for name in ours:
            np.testing.assert_array_equal(theirs[name], ours[name])


@pytest.mark.usefixtures("small_stripes")
def test_sources_that_are_no_files(client: Any) -> None:
    """Dask arrays are computed by the cluster's tasks, also there; memory is not sent around."""
    import dask.array as da

    data = np.random.default_rng(0).integers(0, 99, (3, 4, 8, 8), np.uint16)
    lazy = da.from_array(data, chunks=(1, 4, 8, 4))
    for array in (data, lazy, client.persist(lazy)):
        (signal,) = rsciio_tem.from_array(array)
        found = rsciio_tem.reduce(signal, ["navigator", "sum"], client=client)
        np.testing.assert_array_equal(found["sum"], data.sum(axis=(0, 1)))
        np.testing.assert_array_equal(found["navigator"], data.sum(axis=(2, 3)))
    with pytest.warns(RecordingWarning, match="3 of 15"):
        (signal,) = rsciio_tem.from_array(lazy, nav_shape=(15,), missing="fill", fill_value=7)
    found = rsciio_tem.reduce(signal, client=client)
    assert found["navigator"][12:].tolist() == [7 * 64] * 3


# -- what goes wrong -----------------------------------------------------------------------------


def test_file_that_changes(tmp_path: Path, client: Any) -> None:
    path = holes(tmp_path / "a.raw", 10)
    recording = rsciio_tem.open(path, "raw", dtype="u1", sig_shape=(64, 64))
    lazy = rsciio_tem.load(path, "raw", dtype="u1", sig_shape=(64, 64), lazy=True)[0]["data"]

    def check(text: str) -> None:
        for run in (
            lambda: rsciio_tem.reduce(recording, client=client),
            lambda: client.compute(lazy.sum()).result(),
        ):
            with pytest.raises(FormatError, match=text) as caught:
                run()
            assert caught.value.path == str(path)
            assert "said by a worker on " in str(caught.value)

    os.utime(path, ns=(0, recording.frames.files[0].mtime_ns + 2_000_000_000))  # type: ignore[attr-defined]
    check(r"written again, \+2 s .* a copy has to keep the time")
    os.truncate(path, 100)
    check("it had 40960 bytes, now 100")
    path.rename(tmp_path / "elsewhere")
    check("cannot be opened: No such file .* must see the file under this path")
    wait_until_idle(client)


def test_relative_path(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    holes(tmp_path / "a.raw", 10)
    monkeypatch.chdir(tmp_path)  # where the workers are not
    options: dict[str, Any] = {"dtype": "u1", "sig_shape": (64, 64)}
    assert rsciio_tem.reduce("a.raw", format="raw", client=client, **options)["sum"].sum() == 0
    recording = rsciio_tem.open("a.raw", "raw", **options)
    with pytest.raises(FormatError, match=r"is relative to .* pass an absolute"):
        rsciio_tem.reduce(recording, client=client)


class Deadly(FramesBase):
    """Frames full of their number; whoever loads the one that is deadly dies, once."""

    frame_shape = (8, 8)
    dtype = np.dtype("u2")
    blanks = None

    def __init__(self, index: range, flag: str) -> None:
        self.index, self.flag = index, flag

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Any, /) -> Deadly:
        return Deadly(self.index[index], self.flag)

    def _read_as(self, how: ReadAs) -> Self:
        raise NotImplementedError

    def load(self, out: np.ndarray, region: Any = None) -> None:
        if 60 in self.index and os.path.exists(self.flag):
            os.remove(self.flag)
            os._exit(1)
        out[...] = np.array(self.index)[:, np.newaxis, np.newaxis]


def test_a_worker_dies(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had done is done again, and nothing is added up twice."""
    monkeypatch.setattr(plan_module, "_STRIPE", 1)
    monkeypatch.setattr(plan_module, "_BLOCK", 1)
    monkeypatch.setattr(workers, "_TOGETHER", 3)
    flag = tmp_path / "flag"
    flag.touch()
    frames: Any = Deadly(range(100), str(flag))
    found = one_pass(frames, what=("navigator", "sum", "variance"), client=client)
    assert not flag.exists()
    assert (found["sum"] == sum(range(100))).all()
    assert (found["navigator"] == 64 * np.arange(100)).all()
    np.testing.assert_allclose(found["variance"], np.var(range(100)))
    client.wait_for_workers(2, timeout=30)
    wait_until_idle(client)


def test_interrupted(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends it on the cluster, too."""
    monkeypatch.setattr(plan_module, "_STRIPE", 1 << 20)
    path = holes(tmp_path / "a.raw", 100_000)
    done = []

    def progress(count: int) -> None:
        done.append(count)
        if len(done) == 3:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"dtype": "u1", "sig_shape": (64, 64), "format": "raw"}
    with pytest.raises(KeyboardInterrupt) as caught:  # whose traceback is kept
        rsciio_tem.reduce(path, client=client, progress=progress, **options)
    wait_until_idle(client)
    assert caught.value.__traceback__ is not None
    assert len(done) == 3


# -- threads -------------------------------------------------------------------------------------


def started_threads(path: str) -> tuple[int, list[str]]:
    """Load, reduce and convert; return how many threads to use, and those started."""
    me, started, start = threading.get_ident(), [], threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        if threading.get_ident() == me:
            started.append(thread.name)
        start(thread)

    threading.Thread.start = noted  # type: ignore[method-assign]
    try:
        rsciio_tem.load(path)
        rsciio_tem.reduce(path, ["navigator", "sum", "com"], masks=[Disk(9)], progress=False)
        rsciio_tem.convert(path, path + ".h5", progress=False, overwrite=True)
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
    return threads(), started


def test_one_thread_in_a_task(tmp_path: Path, client: Any) -> None:
    """The other threads of a worker have tasks of their own."""
    path = tmp_path / "a.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (24, 1024, 1024))[:, 3] = 1

    def more_than_one(started: list[str]) -> list[str]:
        """Threads of pools, but for the first of each, for which the task waits."""
        return [name for name in started if re.fullmatch(r"ThreadPoolExecutor-\d+_[^0]", name)]

    here, started = started_threads(str(path))
    assert len(more_than_one(started)) > 0 or here == 1
    there, started = client.submit(started_threads, str(path)).result(timeout=60)
    assert there == 1
    assert more_than_one(started) == []
    assert threads() == here
