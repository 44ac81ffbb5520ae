# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of images: which files, which frames of them, and every kind of image."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import os
import pickle
import struct
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from writers import blo as blo_writer
from writers import eigerstream as eigerstream_writer
from writers import mib as mib_writer
from writers.imagefiles import write_list, write_series, write_tiff

import rsciio_tem
from rsciio_tem.errors import FormatError, NotThisFormat, RecordingWarning, Truncated, Unsupported
from rsciio_tem.formats import imagefiles
from rsciio_tem.frames.combined import Chain
from rsciio_tem.frames.decoded import Decoded
from rsciio_tem.frames.table import FrameTable
from rsciio_tem.parsing import tiff
from rsciio_tem.parsing.images import Opener
from rsciio_tem.storage import backends

RNG = np.random.default_rng(11)


def images(count: int = 12, dtype: str = "u2", shape: tuple[int, int] = (6, 8)) -> np.ndarray:
    return RNG.integers(0, 250, (count, *shape)).astype(dtype)


def load(path: Path, **options: Any) -> Any:
    (signal,) = imagefiles.file_reader(path, **options)
    return signal["data"]


# -- TIFF ----------------------------------------------------------------------------------------

LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "big-endian": {"order": ">"},
    "BigTIFF": {"big": True},
    "big-endian BigTIFF": {"big": True, "order": ">"},
    "strips": {"rows_per_strip": 4},
    "strips of one row": {"rows_per_strip": 1},
    "strips apart": {"rows_per_strip": 2, "gap": 6},
    "header first": {"header_first": True},
    "deflated": {"deflate": True},
    "deflated strips": {"deflate": True, "rows_per_strip": 4},
    "description": {"description": "some words, more than four"},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
def test_tiff_agrees_with_tifffile_and_fabio(
    tmp_path: Path, layout: dict[str, Any], dtype: str
) -> None:
    import tifffile

    frames = images(3, dtype)
    path = write_tiff(tmp_path / "a.tif", frames, **layout)
    np.testing.assert_array_equal(tifffile.imread(path, key=range(3)), frames)
    if not layout.get("big") and not layout.get("deflate") and layout.get("order") != ">":
        import fabio

        with fabio.open(str(path)) as image:
            np.testing.assert_array_equal(image.data, frames[0])
            assert image.data.dtype == dtype
    recording = imagefiles.parse(write_list(tmp_path / "a.yml", "a.tif"))
    decoded = layout.get("deflate") or layout.get("gap")
    assert isinstance(recording.frames, Decoded if decoded else FrameTable)
    data = load(tmp_path / "a.yml")
    assert data.dtype == dtype
    np.testing.assert_array_equal(data, frames)
    np.testing.assert_array_equal(load(tmp_path / "a.yml", lazy=True), frames)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4"])
@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True},
                                     {"rowsperstrip": 3}, {"tile": (16, 16)},
                                     {"compression": "zlib"}, {"compression": "zlib",
                                     "predictor": True}, {"imagej": True}], ids=str)  # fmt: skip
def test_files_of_tifffile(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    import tifffile

    frames = images(4, dtype, (21, 30))
    if options.get("imagej") and dtype in ("i2", "u4"):
        pytest.skip("ImageJ has no such type")
    if options.get("predictor") and dtype == "f4":
        pytest.skip("needs imagecodecs")
    photometric = None if options.get("imagej") else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric=photometric, **options)
    try:
        tifffile.imread(tmp_path / "a.tif")
    except ValueError as error:
        assert "imagecodecs" in str(error)  # noqa: PT017  the witness cannot read its own file
        with pytest.raises(Unsupported, match=r"image 0 cannot be decoded.*imagecodecs"):
            load(write_list(tmp_path / "a.yml", "a.tif"))
        return
    np.testing.assert_array_equal(load(write_list(tmp_path / "a.yml", "a.tif")), frames)


def test_compressed_files_of_pillow(tmp_path: Path) -> None:
    from PIL import Image

    frame = images(1, "u1")[0]
    for compression in ("tiff_lzw", "packbits", "tiff_adobe_deflate"):
        Image.fromarray(frame).save(tmp_path / "a.tif", compression=compression)
        data = load(write_list(tmp_path / "a.yml", "a.tif"))
        np.testing.assert_array_equal(data.reshape(frame.shape), frame)


def test_imagej_that_counts_without_end(tmp_path: Path) -> None:
    frames = images(1)
    text = f"ImageJ=1.53c\nimages={'9' * 5000}\n"
    write_tiff(tmp_path / "a.tif", frames, description=text)
    np.testing.assert_array_equal(load(write_list(tmp_path / "a.yml", "a.tif")), frames[0])


def test_imagej_stack_with_a_single_header(tmp_path: Path) -> None:
    """ImageJ writes stacks beyond 4 GiB with the header of the first image only."""
    frames = images(5)
    text = "ImageJ=1.53c\nimages=5\nslices=5\n"
    path = write_tiff(tmp_path / "a.tif", frames[:1], description=text)
    (start,) = tiff.describe(backends.DataFile.of(path)).starts
    header = path.read_bytes()[start + frames[0].nbytes :]
    moved = bytearray(path.read_bytes()[:start] + frames.tobytes() + header)
    moved[4:8] = struct.pack("<I", struct.unpack_from("<I", moved, 4)[0] + 4 * frames[0].nbytes)
    shift = 4 * frames[0].nbytes
    at = struct.unpack_from("<I", moved, 4)[0]
    for i in range(struct.unpack_from("<H", moved, at)[0]):
        entry = at + 2 + 12 * i
        if struct.unpack_from("<H", moved, entry)[0] == 270:
            where = struct.unpack_from("<I", moved, entry + 8)[0]
            struct.pack_into("<I", moved, entry + 8, where + shift)
    path.write_bytes(moved)
    np.testing.assert_array_equal(load(write_list(tmp_path / "a.yml", "a.tif")), frames)


def test_thumbnails_are_left_out(tmp_path: Path) -> None:
    import tifffile

    frames = images(3)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for frame in frames:
            writer.write(frame, contiguous=False)
            writer.write(frame[::2, ::2], subfiletype=1, contiguous=False)
    np.testing.assert_array_equal(load(write_list(tmp_path / "a.yml", "a.tif")), frames)
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        writer.write(frames[0], contiguous=False)
        writer.write(frames[0][::2, ::2], contiguous=False)
    with pytest.warns(RecordingWarning, match=r"b\.tif: 1 images of another size"):
        data = load(write_list(tmp_path / "b.yml", "b.tif"))
    np.testing.assert_array_equal(data, frames[0])


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        ({256: 0}, "6 x 0 pixels"),
        ({257: 60000}, r"strips|pixels in|goes on to"),
        ({258: 7}, "7 bits"),
        ({339: 9}, "sample format 9"),
        ({277: 3}, "3 colours"),
        ({273: 65000}, "ends at byte"),
        ({278: 1}, "places of 1 strips of 1 x 8 pixels for 6 x 8"),
    ],
)
def test_tiff_headers_that_lie(tmp_path: Path, tags: dict[int, int], match: str) -> None:
    write_tiff(tmp_path / "a.tif", images(1), tags=tags)
    with pytest.raises(FormatError, match=match) as caught:
        load(write_list(tmp_path / "a.yml", "a.tif"))
    assert caught.value.path.endswith("a.tif")


def test_tiff_headers_in_a_circle(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", images(1))
    content = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    struct.pack_into("<I", content, at + 2 + 12 * count, at)
    path.write_bytes(content)
    with pytest.raises(FormatError, match="circle"):
        load(write_list(tmp_path / "a.yml", "a.tif"))


def test_damaged_tiffs_end_in_a_result_or_an_error(tmp_path: Path) -> None:
    """Any byte of a header may be wrong."""
    frames = images(2)
    content = write_tiff(tmp_path / "a.tif", frames, rows_per_strip=4).read_bytes()
    listed = write_list(tmp_path / "a.yml", "a.tif")
    rng = np.random.default_rng(0)
    load(listed)
    tracemalloc.start()
    for _ in range(400):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 2):
            damaged[at] = rng.integers(0, 256)
        cut = rng.integers(0, len(content)) if rng.random() < 0.3 else len(content)
        (tmp_path / "a.tif").write_bytes(damaged[:cut])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(FormatError):
                load(listed)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


# -- which files ---------------------------------------------------------------------------------


def test_hexrd_loads_im_10_before_im_2_here_the_order_is_natural(tmp_path: Path) -> None:
    """hexrd issue 263."""
    frames = images(12)
    write_series(tmp_path, frames)
    path = write_list(tmp_path / "a.yml", "im_*.tif")
    np.testing.assert_array_equal(load(path), frames)
    names = [os.path.basename(name) for name in imagefiles.parse(path).files[1:4]]
    assert names == ["im_1.tif", "im_2.tif", "im_3.tif"]


def test_hexrd_sorts_explicit_lists_here_they_keep_their_order(tmp_path: Path) -> None:
    frames = images(12)
    write_series(tmp_path, frames)
    path = write_list(tmp_path / "a.yml", "im_10.tif im_1.tif im_2.tif im_1.tif")
    np.testing.assert_array_equal(load(path), frames[[9, 0, 1, 0]])
    path = write_list(tmp_path / "a.yml", "im_10.tif im_[1-3].tif")
    np.testing.assert_array_equal(load(path), frames[[9, 0, 1, 2]])


def test_hexrd_reads_files_of_overlapping_patterns_twice_here_once(tmp_path: Path) -> None:
    frames = images(12)
    write_series(tmp_path, frames)
    path = write_list(tmp_path / "a.yml", "im_1*.tif im_?.tif")
    with pytest.warns(RecordingWarning, match="1 files are found by several patterns"):
        data = load(path)
    np.testing.assert_array_equal(data, frames[[0, 9, 10, 11, *range(1, 9)]])


@pytest.mark.parametrize("names", [
    "my scan 1.tif my scan 2.tif", "my scan ?.tif", '"my scan 1.tif" "my scan 2.tif"',
    "'my scan 1.tif' my scan 2.tif", ["my scan 1.tif", "my scan 2.tif"], ["my scan *.tif"],
], ids=str)  # fmt: skip
def test_names_with_spaces(tmp_path: Path, names: Any) -> None:
    folder = tmp_path / "a folder [1]"
    folder.mkdir()
    frames = images(2)
    write_series(folder, frames, "my scan {}.tif")
    np.testing.assert_array_equal(load(write_list(folder / "a.yml", names)), frames)
    path = write_list(tmp_path / "b.yml", names, "a folder [1]")
    np.testing.assert_array_equal(load(path), frames)


def test_names_with_brackets(tmp_path: Path) -> None:
    frames = images(3)
    write_series(tmp_path, frames, "im[{}].tif")
    path = write_list(tmp_path / "a.yml", ["im[2].tif", "im[1].tif", "im[3].tif"])
    np.testing.assert_array_equal(load(path), frames[[1, 0, 2]])


def test_folders_start_from_the_list_then_from_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hexrd knows the current folder only."""
    frames = images(4)
    for name, part in (("lists", frames[:2]), ("here", frames[2:])):
        (tmp_path / name / "images").mkdir(parents=True)
        write_series(tmp_path / name / "images", part)
    path = write_list(tmp_path / "lists" / "a.yml", "im_*.tif", "images")
    monkeypatch.chdir(tmp_path / "here")
    np.testing.assert_array_equal(load(path), frames[:2])
    for file in (tmp_path / "lists" / "images").iterdir():
        file.unlink()
    np.testing.assert_array_equal(load(path), frames[2:])
    write_list(path, "im_*.tif", str(tmp_path / "here" / "images"))
    np.testing.assert_array_equal(load(path), frames[2:])
    write_list(path, "**/im_*.tif", str(tmp_path / "here"))
    np.testing.assert_array_equal(load(path), frames[2:])


def test_list_that_was_written_where_case_does_not_matter(tmp_path: Path) -> None:
    frames = images(1)
    write_series(tmp_path, frames, "IM_{}.TIF")
    np.testing.assert_array_equal(
        load(write_list(tmp_path / "a.yml", "im_1.tif"))[None][0], frames[0]
    )


@pytest.mark.parametrize("names", ["none_*.tif", "none.tif", ["none.tif"], "im_1.tif none.tif"])
def test_hexrd_has_a_zero_length_imageseries_here_what_is_missing_is_named(
    tmp_path: Path, names: Any
) -> None:
    write_series(tmp_path, images(1))
    with pytest.raises(FormatError, match=r"lists none.*which is not in") as caught:
        load(write_list(tmp_path / "a.yml", names))
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(FormatError, match="nowhere"):
        load(write_list(tmp_path / "a.yml", names, "nowhere"))


@pytest.mark.parametrize("names", [None, 3, {}, [], [3], "", [""], [None]], ids=str)
def test_lists_that_name_nothing(tmp_path: Path, names: Any) -> None:
    with pytest.raises(FormatError, match=r"a\.yml: (names no files|lists)"):
        load(write_list(tmp_path / "a.yml", names))


# -- which frames --------------------------------------------------------------------------------

SPELLINGS: dict[str, dict[str, Any]] = {
    "options, as the code has them": {"options": {"empty-frames": 1, "max-file-frames": 2}},
    "beside image-files, as the wiki has them": {"empty-frames": 1, "max-file-frames": 2},
    "underscores": {"options": {"empty_frames": 1, "max_file_frames": 2}},
    "underscores beside": {"empty_frames": 1, "max_file_frames": 2},
    "some here, some there": {"options": {"empty-frames": 1}, "max-file-frames": 2},
    "null": {"options": {"empty-frames": 1, "max-file-frames": 2, "max-total-frames": None},
             "meta": None, "metadata": None},
}  # fmt: skip


@pytest.mark.parametrize("sections", SPELLINGS.values(), ids=SPELLINGS)
def test_hexrd_ignores_what_its_wiki_says_here_both_are_understood(
    tmp_path: Path, sections: dict[str, Any]
) -> None:
    frames = images(8)
    for i in range(2):
        write_tiff(tmp_path / f"im_{i}.tif", frames[4 * i : 4 * i + 4])
    path = tmp_path / "a.yml"
    path.write_text(yaml.safe_dump({"image-files": {"files": "im_*"}, **sections}))
    np.testing.assert_array_equal(load(path), frames[[1, 2, 5, 6]])
    inside = {"files": "im_*", "empty-frames": 1, "max-file-frames": 2}
    path.write_text(yaml.safe_dump({"image_files": inside}))
    np.testing.assert_array_equal(load(path), frames[[1, 2, 5, 6]])


LIMITS = [
    ((0, 0, 0), [0, 1, 2, 3, 4, 5]),
    ((1, 0, 0), [1, 2, 4, 5]),
    ((2, 5, 0), [2, 5]),
    ((0, 2, 0), [0, 1, 3, 4]),
    ((0, 0, 4), [0, 1, 2, 3]),
    ((1, 1, 1), [1]),
    ((1, 0, 3), [1, 2, 4]),
    ((0, 9, 99), [0, 1, 2, 3, 4, 5]),
]


@pytest.mark.parametrize(("limits", "chosen"), LIMITS, ids=str)
def test_limits(tmp_path: Path, limits: tuple[int, int, int], chosen: list[int]) -> None:
    frames = images(6)
    for i in range(2):
        write_tiff(tmp_path / f"im_{i}.tif", frames[3 * i : 3 * i + 3])
    names = ("empty-frames", "max-file-frames", "max-total-frames")
    path = write_list(tmp_path / "a.yml", "im_*", options=dict(zip(names, limits, strict=True)))
    np.testing.assert_array_equal(load(path).reshape(-1, 6, 8), frames[chosen])
    # keywords win over the file
    given = {name.replace("-", "_"): n for name, n in zip(names, limits, strict=True)}
    path = write_list(tmp_path / "a.yml", "im_*", options={"empty-frames": 2})
    np.testing.assert_array_equal(load(path, **given).reshape(-1, 6, 8), frames[chosen])


def test_hexrd_reads_beyond_max_total_frames_here_the_series_ends(tmp_path: Path) -> None:
    write_series(tmp_path, images(5))
    path = write_list(tmp_path / "a.yml", "im_*", options={"max-total-frames": 3})
    recording = imagefiles.parse(path)
    assert len(recording.frames) == 3
    assert len(recording.files) == 4
    with pytest.raises(IndexError):
        recording.frames[np.array([3])]


def test_empty_frames_count_in_each_file(tmp_path: Path) -> None:
    write_series(tmp_path, images(5))
    path = write_list(tmp_path / "a.yml", "im_*", options={"empty-frames": 1})
    with pytest.raises(FormatError, match=r"im_1\.tif: holds 1 frames.*counts in each file"):
        load(path)


def test_unknown_keys_are_told(tmp_path: Path) -> None:
    """hexrd's own example has max-frames, which its code ignores."""
    write_series(tmp_path, images(3))
    path = write_list(tmp_path / "a.yml", "im_*", options={"max-frames": 2}, colour="red")
    with pytest.warns(RecordingWarning, match=r"\['colour', 'max-frames'\] are ignored.*max-file"):
        assert len(load(path)) == 3


def test_contradicting_limits_are_told(tmp_path: Path) -> None:
    write_tiff(tmp_path / "im.tif", images(5))
    path = write_list(tmp_path / "a.yml", "im*", options={"empty-frames": 1}, empty_frames=2)
    with pytest.warns(RecordingWarning, match="empty-frames is 1, in the top level it is 2"):
        assert len(load(path)) == 4


@pytest.mark.parametrize("value", [-1, "two", 1.5, True, [1]])
def test_limits_that_are_none(tmp_path: Path, value: Any) -> None:
    write_series(tmp_path, images(3))
    with pytest.raises(FormatError, match="max-total-frames is"):
        load(write_list(tmp_path / "a.yml", "im_*", options={"max-total-frames": value}))
    if isinstance(value, int) and value < 0:
        with pytest.raises(ValueError, match="max_total_frames=-1"):
            load(write_list(tmp_path / "a.yml", "im_*"), max_total_frames=value)


# -- types ---------------------------------------------------------------------------------------


def test_hexrd_wraps_negative_numbers_in_a_cast_here_they_are_an_error(tmp_path: Path) -> None:
    """-7 is 65529 in hexrd."""
    frames = images(3, "i2")
    write_series(tmp_path, frames)
    path = write_list(tmp_path / "a.yml", "im_*", options={"dtype": "uint16"})
    np.testing.assert_array_equal(load(path), frames.astype("u2"))
    assert load(path).dtype == "u2"
    assert load(path, dtype="float64").dtype == "f8"
    frames[2, 1, 1] = -7
    write_series(tmp_path, frames)
    with pytest.raises(FormatError, match=r"from -7 to .* do not fit into uint16"):
        load(path)
    with pytest.raises(FormatError, match="unknown dtype 'uint99'"):
        load(write_list(tmp_path / "a.yml", "im_*", options={"dtype": "uint99"}))


def test_images_of_different_types_are_read_as_one_that_holds_all(tmp_path: Path) -> None:
    small, large = images(2, "u1"), images(2, "i2") - 300
    write_tiff(tmp_path / "im_1.tif", small)
    write_tiff(tmp_path / "im_2.tif", large)
    path = write_list(tmp_path / "a.yml", "im_*")
    with pytest.warns(RecordingWarning, match="types uint8, int16 in different files.*as int16"):
        data = load(path)
    assert data.dtype == "i2"
    np.testing.assert_array_equal(data, np.concatenate([small.astype("i2"), large]))
    write_tiff(tmp_path / "im_2.tif", images(2, "f4"))
    write_tiff(tmp_path / "im_1.tif", images(2, "u4"))
    with pytest.warns(RecordingWarning, match="as float64"):
        assert load(path).dtype == "f8"
    write_tiff(tmp_path / "im_1.tif", images(2, "u8"))
    with pytest.raises(FormatError, match="pixels of the types uint64, float32"):
        load(path)


def test_images_of_different_byte_order_are_one_series(tmp_path: Path) -> None:
    frames = images(3)
    for i, order in enumerate("<><"):
        write_tiff(tmp_path / f"im_{i}.tif", frames[i], order=order)
    path = write_list(tmp_path / "a.yml", "im_*")
    assert isinstance(imagefiles.parse(path).frames, Chain)
    np.testing.assert_array_equal(load(path), frames)


def test_images_of_different_shape(tmp_path: Path) -> None:
    write_series(tmp_path, images(3))
    write_tiff(tmp_path / "im_2.tif", images(1, shape=(8, 6)))
    with pytest.raises(
        FormatError, match=r"im_2\.tif: holds frames of \(8, 6\) pixels, im_1\.tif of \(6, 8\)"
    ):
        load(write_list(tmp_path / "a.yml", "im_*"))


def test_gel_files_hold_inverted_square_roots(tmp_path: Path) -> None:
    frame = images(1, "u2")[0] * 200
    write_tiff(tmp_path / "a.gel", frame)
    data = load(write_list(tmp_path / "a.yml", "a.gel"))
    assert data.dtype == "f8"
    expected = (65535 - frame.astype("f8")) ** 2 * 2.9452155399372724e-07
    np.testing.assert_array_equal(data.reshape(frame.shape), expected)


# -- metadata ------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", ["meta", "metadata"])
def test_metadata(tmp_path: Path, section: str) -> None:
    write_series(tmp_path, images(3))
    om = np.array([[0, 0.25], [0.25, 0.5], [0.5, 0.75]])
    np.save(tmp_path / "om file.npy", om)
    meta = {"omega": "! load-numpy-array om file.npy", "panel": "ge1", "energy": 61.3,
            "nothing": "", "who": ["a", "b"], "when": None}  # fmt: skip
    (signal,) = imagefiles.file_reader(write_list(tmp_path / "a.yml", "im_*", **{section: meta}))
    assert signal["metadata"]["General"]["title"] == "ge1"
    original = signal["original_metadata"]
    np.testing.assert_array_equal(original["omega"], om)
    assert (original["energy"], original["nothing"], original["who"]) == (61.3, "", ["a", "b"])
    assert original["omega_wedges"] == [{"start": 0.0, "stop": 0.75, "nsteps": 3}]
    axis = signal["axes"][0]
    assert (axis["name"], axis["units"], axis["offset"], axis["scale"]) == (
        "omega", "°", 0.125, 0.25,
    )  # fmt: skip
    assert [a["units"] for a in signal["axes"][1:]] == ["px", "px"]


def test_array_named_without_quotes(tmp_path: Path) -> None:
    """In YAML, an exclamation mark without quotes is a tag that means text."""
    write_series(tmp_path, images(2))
    np.save(tmp_path / "om.npy", [[0, 1], [1, 2]])
    path = tmp_path / "a.yml"
    path.write_text("image-files: {files: im_*}\nmeta:\n  omega: ! load-numpy-array om.npy\n")
    assert imagefiles.parse(path).omega is not None


def test_old_form_of_arrays(tmp_path: Path) -> None:
    write_series(tmp_path, images(2))
    meta = {"omega": "++np.array", "omega-array": [[0, 1], [1, 2]]}
    recording = imagefiles.parse(write_list(tmp_path / "a.yml", "im_*", meta=meta))
    np.testing.assert_array_equal(recording.omega, [[0, 1], [1, 2]])
    assert "omega-array" not in recording.original_metadata


def test_first_and_last_angle_of_the_gui(tmp_path: Path) -> None:
    write_series(tmp_path, images(4))
    meta = {"ostart": 0, "ostop": "2.0"}
    recording = imagefiles.parse(write_list(tmp_path / "a.yml", "im_*", meta=meta))
    np.testing.assert_array_equal(recording.omega, [[0, 0.5], [0.5, 1], [1, 1.5], [1.5, 2]])


def test_hexrd_drops_unknown_commands_here_they_are_kept_and_told(tmp_path: Path) -> None:
    write_series(tmp_path, images(2))
    path = write_list(tmp_path / "a.yml", "im_*", meta={"a": "! run rm -rf"})
    with pytest.warns(RecordingWarning, match="'! run rm -rf' is not a known command"):
        (signal,) = imagefiles.file_reader(path)
    assert signal["original_metadata"]["a"] == "! run rm -rf"


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    write_series(tmp_path, images(2))
    np.save(tmp_path / "om.npy", np.array([{}], object), allow_pickle=True)
    meta = {"omega": "! load-numpy-array om.npy"}
    with pytest.raises(FormatError, match=r"om\.npy: is not a readable \.npy"):
        load(write_list(tmp_path / "a.yml", "im_*", meta=meta))
    for tag in ("!!python/object/apply:os.system ['touch ran']", "!!python/name:os.system"):
        (tmp_path / "a.yml").write_text(f"image-files: {{files: im_*}}\nmeta: {tag}\n")
        with pytest.raises(FormatError, match=r"a\.yml: is not valid YAML"):
            load(tmp_path / "a.yml")
    assert not Path("ran").exists()


def test_omega_that_does_not_fit_is_told_and_kept(tmp_path: Path) -> None:
    write_series(tmp_path, images(3))
    path = write_list(tmp_path / "a.yml", "im_*", meta={"omega": [[0, 1]] * 5})
    with pytest.warns(RecordingWarning, match=r"omega has shape \(5, 2\).*3 frames"):
        (signal,) = imagefiles.file_reader(path)
    assert signal["original_metadata"]["omega"] == [[0, 1]] * 5
    (signal,) = imagefiles.file_reader(path, omega=[[0, 1], [1, 2], [2, 3]])
    assert signal["axes"][0]["scale"] == 1
    (signal,) = imagefiles.file_reader(path, omega=None)
    assert signal["axes"][0]["name"] == "frame"


# -- the YAML ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", NotThisFormat),
        ("- a\n- b\n", NotThisFormat),
        ("other: 1\n", NotThisFormat),
        ("image-files: [a\n", FormatError),
        ("image-files: 3\n", FormatError),
        ("image-files: {files: im_*}\noptions: 5\n", FormatError),
        ("image-files: {files: im_*}\nmeta: [1]\n", FormatError),
        ("image-files: &a {files: *a}\n", FormatError),
        ("image-files: {files: im_*, directory: 3}\n", FormatError),
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
         "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
         "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
         FormatError),
    ],
)  # fmt: skip
def test_bad_yaml(tmp_path: Path, text: str, error: type) -> None:
    write_series(tmp_path, images(2))
    path = tmp_path / "a.yml"
    path.write_text(text)
    with pytest.raises(error) as caught:
        load(path)
    assert caught.value.path == str(path)


def test_flow_style_and_quotes(tmp_path: Path) -> None:
    write_series(tmp_path, images(2))
    for text in (
        "{'image-files': {files: im_*}}",
        '"image-files": {"files": "im_*"}\n',
        "# hexrd\nimage_files:\n  files: im_*\n",
        "\ufeffimage-files: {files: im_*}\n",
    ):
        path = tmp_path / "a.yaml"
        path.write_text(text, encoding="utf-8")
        if not text.startswith("\ufeff"):
            assert rsciio_tem.detect(path)[0].format == "imagefiles"
        assert len(load(path)) == 2


# -- other formats -------------------------------------------------------------------------------


def test_our_own_readers(tmp_path: Path) -> None:
    """Merlin files of a numbered set are listed one by one, and are not read as a set each."""
    frames = RNG.integers(0, 4096, (6, 4, 16)).astype("u2")
    for i in range(3):
        mib_writer.write_mib(
            tmp_path / f"scan_{i + 1:06}.mib", frames[2 * i : 2 * i + 2], first_sequence=2 * i + 1
        )
    path = write_list(tmp_path / "a.yml", "scan_*.mib", options={"empty-frames": 1})
    np.testing.assert_array_equal(load(path), frames[1::2, ::-1])


def test_npy_and_blo_and_captures(tmp_path: Path) -> None:
    patterns = RNG.integers(0, 250, (2, 3, 8, 8)).astype("u1")
    blo_writer.write_blo(tmp_path / "a.blo", patterns)
    np.save(tmp_path / "b.npy", patterns[0])
    eigerstream_writer.write_stream(tmp_path / "c.h5", patterns[1])
    path = write_list(tmp_path / "a.yml", "a.blo b.npy c.h5")
    expected = np.concatenate([patterns.reshape(-1, 8, 8), *patterns])
    np.testing.assert_array_equal(load(path), expected)
    np.testing.assert_array_equal(load(path, lazy=True), expected)
    assert imagefiles.parse(path).original_metadata["image_files"]["read_with"] == {
        **{"blo": 1, "npy": 1, "eigerstream": 1}
    }


def test_hexrd_refuses_several_hdf5_files_in_one_list_here_they_are_read(tmp_path: Path) -> None:
    """hexrd issue 281."""
    frames = images(6, "u4", (8, 16))
    for i in range(3):
        eigerstream_writer.write_stream(tmp_path / f"s_{i}.h5", frames[2 * i : 2 * i + 2])
    np.testing.assert_array_equal(load(write_list(tmp_path / "a.yml", "s_*.h5")), frames)


@pytest.mark.parametrize("suffix", ["cbf", "edf"])
def test_formats_of_fabio(tmp_path: Path, suffix: str) -> None:
    import fabio
    import fabio.cbfimage
    import fabio.edfimage

    kind = {"cbf": fabio.cbfimage.CbfImage, "edf": fabio.edfimage.EdfImage}[suffix]
    frames = images(4, "i4", (20, 30))
    for i, frame in enumerate(frames):
        kind(data=frame).write(str(tmp_path / f"im_{i}.{suffix}"))
    path = write_list(tmp_path / "a.yml", f"im_*.{suffix}")
    data = load(path)
    assert data.dtype == frames.dtype
    np.testing.assert_array_equal(data, frames)
    lazy = load(path, lazy=True)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)), frames)
    # only the first file is looked into; what another one holds is checked when it is read
    kind(data=frames[0, :4]).write(str(tmp_path / f"im_3.{suffix}"))
    with pytest.raises(FormatError, match=rf"im_3\.{suffix}: holds \(4, 30\) pixels"):
        load(path)


def test_files_of_ge_detectors_are_read_in_place(tmp_path: Path) -> None:
    """HEXRDGUI issue 1661: 32-bit files hold more than their header says."""
    import fabio

    frames = np.arange(3 * 2048 * 2048, dtype="u4").astype("<u2").reshape(3, 2048, 2048)
    (tmp_path / "a.ge2").write_bytes(bytes(8192) + frames.tobytes())
    path = write_list(tmp_path / "a.yml", "a.ge2", options={"empty-frames": 1})
    assert isinstance(imagefiles.parse(path).frames, FrameTable)
    data = load(path, lazy=True)
    assert data.shape == (2, 2048, 2048)
    np.testing.assert_array_equal(data[1, 100:120], frames[2, 100:120])
    with fabio.open(str(tmp_path / "a.ge2")) as image:
        np.testing.assert_array_equal(data[1], image.get_frame(2).data)
        header = image.header
    opener = Opener()
    file = backends.DataFile.of(tmp_path / "a.ge2")
    opener._of_ge(file, {**header, "NumberOfFrames": 1})
    assert "16777216 bytes behind its 1 frames" in opener.problems[0].message
    with pytest.raises(Truncated, match="before the last of 9 frames"):
        opener._of_ge(file, {**header, "NumberOfFrames": 9})


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_compressed_files_of_ge_detectors(tmp_path: Path, pack: Any) -> None:
    from fabio.GEimage import GE_HEADER_INFO

    frames = np.random.default_rng(0).integers(0, 4000, (2, 64, 48)).astype("<u2")
    values = {
        "StandardHeaderSizeInBytes": 8192,
        "NumberOfFrames": 2,
        "NumberOfRowsInFrame": 64,
        "NumberOfColsInFrame": 48,
        "ImageDepthInBits": 16,
    }
    header = b"ADEPT".ljust(GE_HEADER_INFO[0][1], b"\0") + b"".join(
        struct.pack(form, values[name]) if name in values else bytes(size)
        for name, size, form in GE_HEADER_INFO[1:]
    )
    suffix = {bytes: "", gzip.compress: ".gz", bz2.compress: ".bz2"}[pack]
    (tmp_path / f"a.ge2{suffix}").write_bytes(pack(header.ljust(8192, b"\0") + frames.tobytes()))
    path = write_list(tmp_path / "a.yml", f"a.ge2{suffix}")
    for lazy in (False, True):
        np.testing.assert_array_equal(np.asarray(load(path, lazy=lazy)), frames)


@pytest.mark.parametrize(("dtype", "suffix"), [("u1", "png"), ("u2", "png"), ("u1", "bmp")])
def test_pictures(tmp_path: Path, dtype: str, suffix: str) -> None:
    """fabio reads no PNG."""
    from PIL import Image

    frames = images(3, dtype)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"im_{i}.{suffix}")
    data = load(write_list(tmp_path / "a.yml", f"im_*.{suffix}"))
    assert data.dtype == dtype
    np.testing.assert_array_equal(data, frames)
    Image.new("RGB", (8, 6)).save(tmp_path / f"im_1.{suffix}")
    with pytest.raises(Unsupported, match="mode RGB, not a grey one"):
        load(write_list(tmp_path / "a.yml", f"im_*.{suffix}"))


def test_files_that_nothing_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "im.xyz").write_bytes(b"what is this" * 100)
    path = write_list(tmp_path / "a.yml", "im.xyz")
    with pytest.raises(FormatError, match=r"im\.xyz: is not an image that fabio can read"):
        load(path)
    monkeypatch.setitem(__import__("sys").modules, "fabio", None)
    with pytest.raises(Unsupported, match=r"im\.xyz.*pip install fabio"):
        load(path)


def test_lists_do_not_nest(tmp_path: Path) -> None:
    path = write_list(tmp_path / "a.yml", "a.yml")
    with pytest.raises(FormatError, match=r"a\.yml"):
        load(path)


def test_own_reader_with_corrections(tmp_path: Path) -> None:
    """Dark frames that come with a recording are applied, as they are when it is opened itself."""
    from writers import seq as seq_writer

    frames = RNG.integers(100, 4000, (3, 16, 24)).astype("u2")
    seq_writer.write_seq(tmp_path / "scan.seq", frames, real=12)
    seq_writer.write_sides(tmp_path, dark=np.full((16, 24), 50, "f4"))
    alone = rsciio_tem.load(tmp_path / "scan.seq")[0]["data"]
    np.testing.assert_array_equal(load(write_list(tmp_path / "a.yml", "scan.seq")), alone)


# -- cheap ---------------------------------------------------------------------------------------


def test_hexrd_reads_every_file_to_open_here_no_pixel_is_read(tmp_path: Path) -> None:
    """HEXRDGUI issue 1346: opening a series took hours on a network drive."""
    one = write_tiff(tmp_path / "im_0.tif", np.zeros((512, 512), "u2")).read_bytes()
    for i in range(1, 300):
        (tmp_path / f"im_{i}.tif").write_bytes(one)
    path = write_list(tmp_path / "a.yml", "im_*.tif")
    imagefiles.parse(path)

    def asked() -> int:
        text = Path("/proc/self/io").read_text(encoding="ascii")
        return int(text.split("rchar:")[1].split()[0])

    if Path("/proc/self/io").exists():
        before = asked()
        recording = imagefiles.parse(path)
        assert asked() - before < 300 * 400 + 60_000
        assert isinstance(recording.frames, FrameTable)
        assert len(recording.frames.runs) == 300


def test_hexrd_keeps_an_image_of_every_file_here_none_is_kept(tmp_path: Path) -> None:
    """60 files of 2 MB left 126 MB behind."""
    frame = np.zeros((512, 512), "u2")
    for i in range(40):
        write_tiff(tmp_path / f"im_{i}.tif", frame, deflate=i % 2 > 0)
    path = write_list(tmp_path / "a.yml", "im_*.tif")
    load(path, lazy=True)[0].compute()
    tracemalloc.start()
    signal = imagefiles.file_reader(path, lazy=True)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert signal[0]["data"].shape == (40, 512, 512)


def test_headers_are_compared_with_the_one_before(tmp_path: Path) -> None:
    frames = images(3)
    for i, frame in enumerate(frames):
        write_tiff(tmp_path / f"im_{i}.tif", frame)
    first = tiff.describe(backends.DataFile.of(tmp_path / "im_0.tif"))
    second = backends.DataFile.of(tmp_path / "im_1.tif")
    assert tiff.describe(second, first) is first
    write_tiff(tmp_path / "im_2.tif", frames[2].astype("i2"))
    third = tiff.describe(backends.DataFile.of(tmp_path / "im_2.tif"), first)
    assert third is not first
    assert third.dtype == "i2"


def test_truncated_image(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", images(1), header_first=True, truncate=5)
    with pytest.raises(Truncated, match=r"a\.tif: ends at byte"):
        load(write_list(tmp_path / "a.yml", "a.tif"))


def test_processing(tmp_path: Path) -> None:
    frames = images(4)
    write_series(tmp_path, frames)
    path = write_list(tmp_path / "a.yml", "im_*")
    steps = [("dark", np.full((6, 8), 90, "u2")), ("flip", "t")]
    expected = np.maximum(frames.astype(int) - 90, 0).transpose(0, 2, 1)
    for lazy in (False, True):
        (signal,) = imagefiles.file_reader(path, processing=steps, lazy=lazy)
        np.testing.assert_array_equal(signal["data"], expected)
    assert [a["name"] for a in signal["axes"][1:]] == ["width", "height"]
    with pytest.raises(ValueError, match="there are dark, flip"):
        imagefiles.parse(path, processing=[("nothing", 1)])


def test_hyperspy(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    frames = images(4)
    write_series(tmp_path, frames)
    signal = hs.load(write_list(tmp_path / "a.yml", "im_*", meta={"ostart": 0, "ostop": 2}))
    np.testing.assert_array_equal(signal.data, frames)
    assert signal.axes_manager[0].units == "°"
