# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: dm
  title: DigitalMicrograph file (.dm3, .dm4, .gtg)
  file-extension: [dm3, dm4, gtg]
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: be

doc: |
  One tree of tags. The structure is big-endian; values have the byte order that the file names.

  Images are groups below "ImageList", without names. Each has
  "ImageData/Data" (pixels, an array), "ImageData/DataType" (their type, see data_type),
  "ImageData/Dimensions" (sizes, fastest axis first), "ImageData/PixelDepth" (bytes per pixel),
  "ImageData/Calibrations/Dimension" (Origin, Scale and Units per axis, fastest first: the
  coordinate of index i is (i - Origin) * Scale), "ImageTags" and "Name". "Thumbnails" has a group
  with an "ImageIndex" for each image that only shows another one.

  Pixels follow each other without padding, fastest axis first. Which axes are the scan:
  "ImageTags/Meta Data/Data Order Swapped" = 1 says the slower ones, so that frame follows frame.
  Without it, older versions made the faster ones the scan: for each pixel of the detector, the
  image of the scan.
doc-ref: https://hyperspy.org/rosettasciio/supported_formats/dm3.html

seq:
  - id: version
    type: u4
    valid:
      any-of: [3, 4]
    doc: 3 or 4. In version 3, lengths have 4 bytes, in version 4 they have 8.
  - id: len_tree
    type: length
    doc: Bytes of the tree, not reliable.
  - id: little_endian
    type: u4
    valid:
      max: 1
    doc: Whether values are little-endian.
  - id: root
    type: group
    doc: The tree.

types:
  length:
    seq:
      - id: value
        type:
          switch-on: _root.version
          cases:
            3: u4
            4: u8
        doc: A length, a number of elements, or a code.
  group:
    seq:
      - id: is_sorted
        type: u1
        doc: Whether the tags are sorted by name.
      - id: is_open
        type: u1
        doc: Whether the group is shown open.
      - id: num_tags
        type: length
        doc: Number of tags.
      - id: tags
        type: tag
        repeat: expr
        repeat-expr: num_tags.value
        doc: Tags; in lists they have no names.
  tag:
    seq:
      - id: kind
        type: u1
        enum: tag_kind
        doc: Group or value.
      - id: len_name
        type: u2
        doc: Bytes of the name.
      - id: name
        type: str
        size: len_name
        encoding: ISO-8859-1
        doc: Name, may be empty.
      - id: len_body
        type: u8
        if: _root.version == 4
        doc: Bytes that follow for this tag, so that it can be skipped.
      - id: body
        type:
          switch-on: kind
          cases:
            'tag_kind::group': group
            'tag_kind::value': value
        doc: The group or the value.
  value:
    seq:
      - id: mark
        contents: '%%%%'
        doc: Begins every value.
      - id: num_info
        type: length
        doc: How many numbers the description of the type has.
      - id: type
        type: description
        doc: The type.
      - id: payload
        size: type.len
        doc: The value, in the byte order of the file. Text is an array of 16-bit units.
  description:
    seq:
      - id: code
        type: length
        doc: See value_type.
      - id: array
        type: array
        if: code.value == 20
        doc: What the elements of an array are, and how many.
      - id: structure
        type: structure
        if: code.value == 15
        doc: What a structure consists of.
      - id: len_string
        type: length
        if: code.value == 18
        doc: Bytes of a string.
    instances:
      len_simple:
        value: |
          code.value == 8 or code.value == 9 or code.value == 10 ? 1 :
          code.value == 2 or code.value == 4 ? 2 :
          code.value == 3 or code.value == 5 or code.value == 6 ? 4 :
          code.value == 7 or code.value == 11 or code.value == 12 ? 8 : 0
        doc: Bytes of a number.
      len:
        value: |
          code.value == 20 ? array.element.len.as<u8> * array.count.value :
          code.value == 15 ? structure.len.as<u8> :
          code.value == 18 ? len_string.value : len_simple
        doc: Bytes of the value.
  array:
    seq:
      - id: element
        type: description
        doc: Type of an element.
      - id: count
        type: length
        doc: Number of elements.
  structure:
    seq:
      - id: len_name
        type: length
        doc: Always 0.
      - id: num_fields
        type: length
        doc: Number of fields.
      - id: fields
        type: field(_index)
        repeat: expr
        repeat-expr: num_fields.value
        doc: Fields without padding.
    instances:
      len:
        value: 'num_fields.value == 0 ? 0 : fields[fields.size - 1].end.as<u8>'
        doc: Bytes of the structure.
  field:
    params:
      - id: index
        type: s4
        doc: Number of the field.
    seq:
      - id: len_name
        type: length
        doc: Always 0.
      - id: type
        type: description
        doc: Type of the field.
    instances:
      end:
        value: '(index == 0 ? 0 : _parent.as<structure>.fields[index - 1].end.as<u8>) + type.len.as<u8>'
        doc: Bytes up to the end of this field.

enums:
  tag_kind:
    0:
      id: end
      doc: Nothing follows.
    20:
      id: group
      doc: A group of tags.
    21:
      id: value
      doc: A value.
  value_type:
    2: int16
    3: int32
    4:
      id: uint16
      doc: Also a unit of UTF-16 text.
    5: uint32
    6: float32
    7: float64
    8: boolean
    9: int8
    10: uint8
    11: int64
    12: uint64
    15: structure
    18: string
    20: array
  data_type:
    1: int16
    2: float32
    3: complex64
    5:
      id: half_plane_old
      doc: Fourier transform of an image, one half, in an arrangement of old versions.
    6: uint8
    7: int32
    8:
      id: colours
      doc: 32-bit number, from the lowest byte blue, green, red, alpha.
    9: int8
    10: uint16
    11: uint32
    12: float64
    13: complex128
    14: boolean
    23:
      id: colours_with_alpha
      doc: As colours.
    27:
      id: half_plane_complex64
      doc: |
        Fourier transform of an image with width w: each row has w // 2 + 1 values, the frequencies
        0, -1, -2, …; rows as in the image, its origin in the middle.
    28:
      id: half_plane_complex128
      doc: As half_plane_complex64.
