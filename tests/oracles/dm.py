# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/dm.ksy, compiler 0.11.0.
# sha256 of the specification: 145bc53143d1b47359674a85c2f8679ba3bc6f75c4d8834991310a98d32745c3
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO
from enum import IntEnum


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Dm(KaitaiStruct):
    """One tree of tags. The structure is big-endian; values have the byte order that the file names.
    
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
    
    .. seealso::
       Source - https://hyperspy.org/rosettasciio/supported_formats/dm3.html
    """

    class DataType(IntEnum):
        int16 = 1
        float32 = 2
        complex64 = 3
        half_plane_old = 5
        uint8 = 6
        int32 = 7
        colours = 8
        int8 = 9
        uint16 = 10
        uint32 = 11
        float64 = 12
        complex128 = 13
        boolean = 14
        colours_with_alpha = 23
        half_plane_complex64 = 27
        half_plane_complex128 = 28

    class TagKind(IntEnum):
        end = 0
        group = 20
        value = 21

    class ValueType(IntEnum):
        int16 = 2
        int32 = 3
        uint16 = 4
        uint32 = 5
        float32 = 6
        float64 = 7
        boolean = 8
        int8 = 9
        uint8 = 10
        int64 = 11
        uint64 = 12
        structure = 15
        string = 18
        array = 20
    def __init__(self, _io, _parent=None, _root=None):
        super(Dm, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.version = self._io.read_u4be()
        if not  ((self.version == 3) or (self.version == 4)) :
            raise kaitaistruct.ValidationNotAnyOfError(self.version, self._io, u"/seq/0")
        self.len_tree = Dm.Length(self._io, self, self._root)
        self.little_endian = self._io.read_u4be()
        if not self.little_endian <= 1:
            raise kaitaistruct.ValidationGreaterThanError(1, self.little_endian, self._io, u"/seq/2")
        self.root = Dm.Group(self._io, self, self._root)


    def _fetch_instances(self):
        pass
        self.len_tree._fetch_instances()
        self.root._fetch_instances()

    class Array(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Dm.Array, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.element = Dm.Description(self._io, self, self._root)
            self.count = Dm.Length(self._io, self, self._root)


        def _fetch_instances(self):
            pass
            self.element._fetch_instances()
            self.count._fetch_instances()


    class Description(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Dm.Description, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.code = Dm.Length(self._io, self, self._root)
            if self.code.value == 20:
                pass
                self.array = Dm.Array(self._io, self, self._root)

            if self.code.value == 15:
                pass
                self.structure = Dm.Structure(self._io, self, self._root)

            if self.code.value == 18:
                pass
                self.len_string = Dm.Length(self._io, self, self._root)



        def _fetch_instances(self):
            pass
            self.code._fetch_instances()
            if self.code.value == 20:
                pass
                self.array._fetch_instances()

            if self.code.value == 15:
                pass
                self.structure._fetch_instances()

            if self.code.value == 18:
                pass
                self.len_string._fetch_instances()


        @property
        def len(self):
            """Bytes of the value."""
            if hasattr(self, '_m_len'):
                return self._m_len

            self._m_len = (self.array.element.len * self.array.count.value if self.code.value == 20 else (self.structure.len if self.code.value == 15 else (self.len_string.value if self.code.value == 18 else self.len_simple)))
            return getattr(self, '_m_len', None)

        @property
        def len_simple(self):
            """Bytes of a number."""
            if hasattr(self, '_m_len_simple'):
                return self._m_len_simple

            self._m_len_simple = (1 if  ((self.code.value == 8) or (self.code.value == 9) or (self.code.value == 10))  else (2 if  ((self.code.value == 2) or (self.code.value == 4))  else (4 if  ((self.code.value == 3) or (self.code.value == 5) or (self.code.value == 6))  else (8 if  ((self.code.value == 7) or (self.code.value == 11) or (self.code.value == 12))  else 0))))
            return getattr(self, '_m_len_simple', None)


    class Field(KaitaiStruct):
        def __init__(self, index, _io, _parent=None, _root=None):
            super(Dm.Field, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.index = index
            self._read()

        def _read(self):
            self.len_name = Dm.Length(self._io, self, self._root)
            self.type = Dm.Description(self._io, self, self._root)


        def _fetch_instances(self):
            pass
            self.len_name._fetch_instances()
            self.type._fetch_instances()

        @property
        def end(self):
            """Bytes up to the end of this field."""
            if hasattr(self, '_m_end'):
                return self._m_end

            self._m_end = (0 if self.index == 0 else self._parent.fields[self.index - 1].end) + self.type.len
            return getattr(self, '_m_end', None)


    class Group(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Dm.Group, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.is_sorted = self._io.read_u1()
            self.is_open = self._io.read_u1()
            self.num_tags = Dm.Length(self._io, self, self._root)
            self.tags = []
            for i in range(self.num_tags.value):
                self.tags.append(Dm.Tag(self._io, self, self._root))



        def _fetch_instances(self):
            pass
            self.num_tags._fetch_instances()
            for i in range(len(self.tags)):
                pass
                self.tags[i]._fetch_instances()



    class Length(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Dm.Length, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            _on = self._root.version
            if _on == 3:
                pass
                self.value = self._io.read_u4be()
            elif _on == 4:
                pass
                self.value = self._io.read_u8be()


        def _fetch_instances(self):
            pass
            _on = self._root.version
            if _on == 3:
                pass
            elif _on == 4:
                pass


    class Structure(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Dm.Structure, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.len_name = Dm.Length(self._io, self, self._root)
            self.num_fields = Dm.Length(self._io, self, self._root)
            self.fields = []
            for i in range(self.num_fields.value):
                self.fields.append(Dm.Field(i, self._io, self, self._root))



        def _fetch_instances(self):
            pass
            self.len_name._fetch_instances()
            self.num_fields._fetch_instances()
            for i in range(len(self.fields)):
                pass
                self.fields[i]._fetch_instances()


        @property
        def len(self):
            """Bytes of the structure."""
            if hasattr(self, '_m_len'):
                return self._m_len

            self._m_len = (0 if self.num_fields.value == 0 else self.fields[len(self.fields) - 1].end)
            return getattr(self, '_m_len', None)


    class Tag(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Dm.Tag, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.kind = KaitaiStream.resolve_enum(Dm.TagKind, self._io.read_u1())
            self.len_name = self._io.read_u2be()
            self.name = (self._io.read_bytes(self.len_name)).decode(u"ISO-8859-1")
            if self._root.version == 4:
                pass
                self.len_body = self._io.read_u8be()

            _on = self.kind
            if _on == Dm.TagKind.group:
                pass
                self.body = Dm.Group(self._io, self, self._root)
            elif _on == Dm.TagKind.value:
                pass
                self.body = Dm.Value(self._io, self, self._root)


        def _fetch_instances(self):
            pass
            if self._root.version == 4:
                pass

            _on = self.kind
            if _on == Dm.TagKind.group:
                pass
                self.body._fetch_instances()
            elif _on == Dm.TagKind.value:
                pass
                self.body._fetch_instances()


    class Value(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Dm.Value, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.mark = self._io.read_bytes(4)
            if not self.mark == b"\x25\x25\x25\x25":
                raise kaitaistruct.ValidationNotEqualError(b"\x25\x25\x25\x25", self.mark, self._io, u"/types/value/seq/0")
            self.num_info = Dm.Length(self._io, self, self._root)
            self.type = Dm.Description(self._io, self, self._root)
            self.payload = self._io.read_bytes(self.type.len)


        def _fetch_instances(self):
            pass
            self.num_info._fetch_instances()
            self.type._fetch_instances()



