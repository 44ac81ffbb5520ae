# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: mib
  title: Quantum Detectors Merlin recording (.mib)
  file-extension: mib
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: be

doc: |
  Frames of a Merlin or MerlinEM camera (Medipix3 chips), written back to back. There is no file
  header: every frame is an ASCII header of `offset` bytes followed by its pixels. All frames of a
  file have the same size, so frame `i` starts at byte `i * len_frame`; the bytes after the last
  whole frame are what an interrupted recording leaves behind.

  Pixels are kept as a byte array, in the order of the file:

  * `U08`, `U16`, `U32`, `U64`: big-endian unsigned integers, `height` rows of `width` pixels,
    already assembled from all chips. The first stored row is the bottom row of the image. `U01`
    is defined as eight pixels per byte, but binary images are written as `U08` in practice.
  * `R64`: what the chips sent, in 64-bit big-endian words with the lowest-numbered pixel in the
    least significant bits. A pixel takes 1, 8 or 16 bits for a counter depth of 1, 6 or 12. At a
    depth of 24 there are two images of 16-bit pixels, the high 12 bits of every pixel first and
    the low 12 bits second, and `width` counts both. Rows of a 2x2 detector hold the four chips
    side by side, the highest-numbered chip first, and have to be rearranged.

  Not described here: recordings of 2015 with a 256-byte header that does not start with `MQ1`;
  profiles (`PR1`); data sockets dumped to disk, in which `MPX,`, ten digits and a comma precede
  every message. Keys of the text file that comes with a recording are in mib_hdr.md.

params:
  - id: counter_depth
    type: u1
    doc: |
      Counter depth of `R64` frames in bits (1, 6, 12 or 24), for files whose headers do not state
      it. 0 takes the depth from the `MQ1A` extension of each header. Without influence on
      processed frames.

seq:
  - id: frames
    type: frame
    repeat: expr
    repeat-expr: num_frames
    doc: All complete frames.
  - id: remainder
    size-eos: true
    doc: Part of a frame at the end of the file; empty in a complete recording.

instances:
  first_header:
    pos: 0
    type: header
    doc: Header of the first frame, which tells the size of every frame.
  len_frame:
    value: first_header.offset.to_i + first_header.len_pixels
    doc: Distance between the starts of two frames, in bytes.
  num_frames:
    value: _io.size / len_frame
    doc: Number of complete frames in the file.

types:
  frame:
    seq:
      - id: header
        type: header
        doc: ASCII header.
      - id: pixels
        size: header.len_pixels
        valid:
          expr: header.bits_per_pixel > 0
        doc: Pixels as stored. Refused if the counter depth of an `R64` frame is not known.

  header:
    doc: |
      Text fields separated by commas. The first nine have fixed widths and are enough to compute
      the size of the frame.
    seq:
      - id: type_id
        type: str
        size: 3
        encoding: ASCII
        valid: '"MQ1"'
        doc: What follows; `MQ1` is an image.
      - id: c0
        contents: ','
        doc: Separator.
      - id: sequence
        type: str
        size: 6
        encoding: ASCII
        doc: |
          Number of the frame in its acquisition, from 000001. It goes on through the files of a
          recording that was split. A gap means that frames were lost.
      - id: c1
        contents: ','
        doc: Separator.
      - id: offset
        -orig-id: DataOffset
        type: str
        size: 5
        encoding: ASCII
        doc: |
          Bytes from the start of the header to the pixels: 384, 512, 640 or 768 for one to four
          chips in the files seen so far, but never to be derived from the number of chips.
      - id: c2
        contents: ','
        doc: Separator.
      - id: chips
        type: str
        size: 2
        encoding: ASCII
        doc: Number of chips.
      - id: c3
        contents: ','
        doc: Separator.
      - id: width
        type: str
        size: 4
        encoding: ASCII
        doc: Pixels in a stored row.
      - id: c4
        contents: ','
        doc: Separator.
      - id: height
        type: str
        size: 4
        encoding: ASCII
        doc: Stored rows. Fewer than the detector has when a region of rows was read out.
      - id: c5
        contents: ','
        doc: Separator.
      - id: pixel_type
        type: str
        size: 3
        encoding: ASCII
        valid:
          any-of: ['"U01"', '"U08"', '"U16"', '"U32"', '"U64"', '"R64"']
        doc: Type of a processed pixel (`Uxx`, xx bits), or `R64` for the data as read out.
      - id: c6
        contents: ','
        doc: Separator.
      - id: layout
        type: str
        size: 6
        encoding: ASCII
        doc: |
          Arrangement of the chips, right-justified: `1x1`, `2x2`, `Nx1` (the letter N), and
          `2x2G`, `Nx1G` with pixels in the gaps between the chips. It names the readout system:
          files with `2x2` and a single chip exist.
      - id: c7
        contents: ','
        doc: Separator.
      - id: chip_select
        type: str
        size: 2
        encoding: ASCII
        doc: Chips in use as a hexadecimal bit mask; the least significant bit is chip 1.
      - id: c8
        contents: ','
        doc: Separator.
      - id: settings
        type: settings
        size: offset.to_i - 44
        doc: The remaining fields, whose widths and number vary, and padding.
    instances:
      depth:
        value: >-
          _root.counter_depth > 0 ? _root.counter_depth :
          settings.has_extension ? settings.extension.counter_depth.to_i : 0
        doc: Counter depth in bits, 0 if neither the header nor the caller states it.
      bits_per_pixel:
        value: >-
          pixel_type == "R64"
          ? (depth == 1 ? 1 : depth == 6 ? 8 : depth == 12 or depth == 24 ? 16 : 0)
          : pixel_type.substring(1, 3).to_i
        doc: Bits that each of the `width * height` stored pixels takes.
      len_pixels:
        value: width.to_i * height.to_i * bits_per_pixel / 8
        doc: Bytes of pixels.

  settings:
    doc: |
      Local time, shutter time in seconds, counter (layer in colour mode), colour mode, gain,
      eight thresholds in keV, then for every chip its type and 27 DAC values. The software of
      2017 and 2018 leaves thresholds and DAC values out of `R64` headers.
    seq:
      - id: fields
        type: str
        encoding: ASCII
        terminator: 0x2c
        eos-error: false
        repeat: until
        repeat-until: _ == "MQ1A" or _io.eof
        doc: |
          Fields up to and including the identifier of the extension, `MQ1A`. Headers of 2015 and
          earlier may lack the extension; the last entry is then the padding.
      - id: extension
        type: extension
        if: has_extension
        doc: Fields that were added to the header later.
    instances:
      has_extension:
        value: fields.last == "MQ1A"
        doc: Whether the header has the `MQ1A` extension.

  extension:
    seq:
      - id: utc_time
        type: str
        encoding: ASCII
        terminator: 0x2c
        doc: Start of the exposure, `YYYY-MM-DDThh:mm:ss.nnnnnnnnnZ`.
      - id: shutter
        type: str
        encoding: ASCII
        terminator: 0x2c
        doc: Shutter time, an integer followed by `ns` (`nS` in early versions).
      - id: counter_depth
        type: str
        encoding: ASCII
        terminator: 0x2c
        doc: Counter depth in bits, 1, 6, 12 or 24.
      - id: padding
        size-eos: true
        doc: |
          NUL bytes up to the pixels. Programs other than the vendor's also write spaces or a line
          feed.
