# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: npy
  title: NumPy array file (.npy), versions 1 to 3
  file-extension: npy
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: le

doc: |
  One array: a short binary preamble, the description of the array as the text of a Python
  dictionary, then the elements without gaps.

  The dictionary has exactly three keys. `descr` is the element type in NumPy's notation, byte
  order included, for example `'<u2'`; a list of fields for structured arrays. `fortran_order` is
  True if the first index varies fastest in the file. `shape` is a tuple of integers. It is a
  literal and must be read as one, without evaluating it.

  Arrays of Python objects (`'|O'`) hold a pickle in place of elements. A reader of recordings has
  no reason to accept them.
doc-ref: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

seq:
  - id: magic
    contents: [0x93, 'NUMPY']
    doc: Signature.
  - id: version_major
    type: u1
    valid:
      any-of: [1, 2, 3]
    doc: |
      1 as long as the header fits its two-byte length; 2 for longer ones; 3 when a field name of
      a structured array is not Latin-1.
  - id: version_minor
    type: u1
    doc: Always 0 so far.
  - id: len_header_short
    -orig-id: HEADER_LEN
    type: u2
    if: version_major == 1
    doc: Length of the header in bytes, version 1.
  - id: len_header_long
    -orig-id: HEADER_LEN
    type: u4
    if: version_major >= 2
    doc: Length of the header in bytes, versions 2 and 3.
  - id: header_latin1
    type: str
    size: len_header
    encoding: ISO-8859-1
    if: version_major <= 2
    doc: Header of versions 1 and 2.
  - id: header_utf8
    type: str
    size: len_header
    encoding: UTF-8
    if: version_major == 3
    doc: Header of version 3.
  - id: data
    size-eos: true
    doc: |
      Elements of the array: the product of `shape` times the element size in bytes. Anything
      beyond is not part of the array.

instances:
  len_header:
    value: 'version_major == 1 ? len_header_short : len_header_long'
    doc: Length of the header in bytes.
  ofs_data:
    value: '(version_major == 1 ? 10 : 12) + len_header'
    doc: |
      Where the elements start. A multiple of 64 in files written by NumPy 1.14 and later, of 16
      before; readers should not rely on either.
  header:
    value: 'version_major == 3 ? header_utf8 : header_latin1'
    doc: Dictionary as text, padded with spaces and ended by a line feed.
