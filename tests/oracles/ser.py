# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/ser.ksy, compiler 0.11.0.
# sha256 of the specification: 1902deb84b656ab803c727fd3b4216387c72cf910d1b701c8a660c332a0a78f5
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Ser(KaitaiStruct):
    """A header with the dimensions in which elements are arranged, a table that says where each element
    and its tag begin, and the elements: images or spectra, each with its own calibration.
    
    The table has an entry for every element that was asked for, then as many for the tags. If the
    series was interrupted, the data entry behind the last recorded element is where the next one
    would have begun, and the others are zero.
    
    In all recorded files a tag follows its element, and elements follow each other without a gap.
    
    The description (.emi) is described in ser_emi.md.
    
    .. seealso::
       Source - https://hyperspy.org/rosettasciio/supported_formats/tia.html
    """
    def __init__(self, _io, _parent=None, _root=None):
        super(Ser, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.header = Ser.Header(self._io, self, self._root)
        _on = self.header.version
        if _on == 528:
            pass
            self.ofs_table = self._io.read_u4le()
        elif _on == 544:
            pass
            self.ofs_table = self._io.read_u8le()
        self.num_dimensions = self._io.read_u4le()
        self.dimensions = []
        for i in range(self.num_dimensions):
            self.dimensions.append(Ser.Dimension(self._io, self, self._root))



    def _fetch_instances(self):
        pass
        self.header._fetch_instances()
        _on = self.header.version
        if _on == 528:
            pass
        elif _on == 544:
            pass
        for i in range(len(self.dimensions)):
            pass
            self.dimensions[i]._fetch_instances()

        _ = self.elements
        if hasattr(self, '_m_elements'):
            pass
            for i in range(len(self._m_elements)):
                pass
                self._m_elements[i]._fetch_instances()


        _ = self.table
        if hasattr(self, '_m_table'):
            pass
            self._m_table._fetch_instances()


    class Dimension(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Ser.Dimension, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.size = self._io.read_u4le()
            self.offset = self._io.read_f8le()
            self.delta = self._io.read_f8le()
            self.element = self._io.read_u4le()
            self.len_description = self._io.read_u4le()
            self.description = (self._io.read_bytes(self.len_description)).decode(u"ISO-8859-1")
            self.len_units = self._io.read_u4le()
            self.units = (self._io.read_bytes(self.len_units)).decode(u"ISO-8859-1")


        def _fetch_instances(self):
            pass


    class Element(KaitaiStruct):
        def __init__(self, number, _io, _parent=None, _root=None):
            super(Ser.Element, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.number = number
            self._read()

        def _read(self):
            pass


        def _fetch_instances(self):
            pass
            _ = self.data
            if hasattr(self, '_m_data'):
                pass
                _on = self._root.header.kind
                if _on == 16672:
                    pass
                    self._m_data._fetch_instances()
                elif _on == 16674:
                    pass
                    self._m_data._fetch_instances()

            _ = self.tag
            if hasattr(self, '_m_tag'):
                pass
                self._m_tag._fetch_instances()


        @property
        def data(self):
            """Calibration and values."""
            if hasattr(self, '_m_data'):
                return self._m_data

            io = self._root._io
            _pos = io.pos()
            io.seek(self._root.table.data[self.number])
            _on = self._root.header.kind
            if _on == 16672:
                pass
                self._m_data = Ser.Spectrum(io, self, self._root)
            elif _on == 16674:
                pass
                self._m_data = Ser.Image(io, self, self._root)
            io.seek(_pos)
            return getattr(self, '_m_data', None)

        @property
        def tag(self):
            """Time and position."""
            if hasattr(self, '_m_tag'):
                return self._m_tag

            io = self._root._io
            _pos = io.pos()
            io.seek(self._root.table.tags[self.number])
            self._m_tag = Ser.Tag(io, self, self._root)
            io.seek(_pos)
            return getattr(self, '_m_tag', None)


    class Header(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Ser.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.byte_order = self._io.read_bytes(2)
            if not self.byte_order == b"\x49\x49":
                raise kaitaistruct.ValidationNotEqualError(b"\x49\x49", self.byte_order, self._io, u"/types/header/seq/0")
            self.series = self._io.read_bytes(2)
            if not self.series == b"\x97\x01":
                raise kaitaistruct.ValidationNotEqualError(b"\x97\x01", self.series, self._io, u"/types/header/seq/1")
            self.version = self._io.read_u2le()
            if not  ((self.version == 528) or (self.version == 544)) :
                raise kaitaistruct.ValidationNotAnyOfError(self.version, self._io, u"/types/header/seq/2")
            self.kind = self._io.read_u4le()
            if not  ((self.kind == 16672) or (self.kind == 16674)) :
                raise kaitaistruct.ValidationNotAnyOfError(self.kind, self._io, u"/types/header/seq/3")
            self.tag_kind = self._io.read_u4le()
            if not  ((self.tag_kind == 16722) or (self.tag_kind == 16706)) :
                raise kaitaistruct.ValidationNotAnyOfError(self.tag_kind, self._io, u"/types/header/seq/4")
            self.num_total = self._io.read_u4le()
            self.num_valid = self._io.read_u4le()


        def _fetch_instances(self):
            pass


    class Image(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Ser.Image, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.offset_x = self._io.read_f8le()
            self.delta_x = self._io.read_f8le()
            self.element_x = self._io.read_u4le()
            self.offset_y = self._io.read_f8le()
            self.delta_y = self._io.read_f8le()
            self.element_y = self._io.read_u4le()
            self.data_type = self._io.read_u2le()
            self.columns = self._io.read_u4le()
            self.rows = self._io.read_u4le()
            self.values = self._io.read_bytes((self.columns * self.rows) * self.size.bytes)


        def _fetch_instances(self):
            pass
            _ = self.size
            if hasattr(self, '_m_size'):
                pass
                self._m_size._fetch_instances()


        @property
        def size(self):
            """Bytes of a pixel."""
            if hasattr(self, '_m_size'):
                return self._m_size

            self._m_size = Ser.ValueSize(self.data_type, self._io, self, self._root)
            return getattr(self, '_m_size', None)


    class Spectrum(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Ser.Spectrum, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.offset = self._io.read_f8le()
            self.delta = self._io.read_f8le()
            self.element = self._io.read_u4le()
            self.data_type = self._io.read_u2le()
            self.length = self._io.read_u4le()
            self.values = self._io.read_bytes(self.length * self.size.bytes)


        def _fetch_instances(self):
            pass
            _ = self.size
            if hasattr(self, '_m_size'):
                pass
                self._m_size._fetch_instances()


        @property
        def size(self):
            """Bytes of a value."""
            if hasattr(self, '_m_size'):
                return self._m_size

            self._m_size = Ser.ValueSize(self.data_type, self._io, self, self._root)
            return getattr(self, '_m_size', None)


    class Table(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Ser.Table, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.data = []
            for i in range(self._root.header.num_total):
                _on = self._root.header.version
                if _on == 528:
                    pass
                    self.data.append(self._io.read_u4le())
                elif _on == 544:
                    pass
                    self.data.append(self._io.read_u8le())

            self.tags = []
            for i in range(self._root.header.num_total):
                _on = self._root.header.version
                if _on == 528:
                    pass
                    self.tags.append(self._io.read_u4le())
                elif _on == 544:
                    pass
                    self.tags.append(self._io.read_u8le())



        def _fetch_instances(self):
            pass
            for i in range(len(self.data)):
                pass
                _on = self._root.header.version
                if _on == 528:
                    pass
                elif _on == 544:
                    pass

            for i in range(len(self.tags)):
                pass
                _on = self._root.header.version
                if _on == 528:
                    pass
                elif _on == 544:
                    pass



    class Tag(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Ser.Tag, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.kind = self._io.read_u2le()
            self.unknown = self._io.read_u2le()
            self.time = self._io.read_u4le()
            if self.kind == 16706:
                pass
                self.x = self._io.read_f8le()

            if self.kind == 16706:
                pass
                self.y = self._io.read_f8le()



        def _fetch_instances(self):
            pass
            if self.kind == 16706:
                pass

            if self.kind == 16706:
                pass



    class ValueSize(KaitaiStruct):
        """Types are 1 to 10: unsigned integers of 8, 16 and 32 bits, signed integers of 8, 16 and 32
        bits, floating-point numbers of 32 and 64 bits, complex numbers of 2 x 32 and 2 x 64 bits.
        """
        def __init__(self, data_type, _io, _parent=None, _root=None):
            super(Ser.ValueSize, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.data_type = data_type
            self._read()

        def _read(self):
            pass


        def _fetch_instances(self):
            pass

        @property
        def bytes(self):
            """Bytes of a value."""
            if hasattr(self, '_m_bytes'):
                return self._m_bytes

            self._m_bytes = (16 if self.data_type == 10 else (8 if self.data_type >= 8 else (4 if self.data_type == 7 else (1 if self.data_type % 3 == 1 else (2 if self.data_type % 3 == 2 else 4)))))
            return getattr(self, '_m_bytes', None)


    @property
    def elements(self):
        """The recorded elements."""
        if hasattr(self, '_m_elements'):
            return self._m_elements

        _pos = self._io.pos()
        self._io.seek(0)
        self._m_elements = []
        for i in range(self.header.num_valid):
            self._m_elements.append(Ser.Element(i, self._io, self, self._root))

        self._io.seek(_pos)
        return getattr(self, '_m_elements', None)

    @property
    def table(self):
        """Where elements and tags begin."""
        if hasattr(self, '_m_table'):
            return self._m_table

        _pos = self._io.pos()
        self._io.seek(self.ofs_table)
        self._m_table = Ser.Table(self._io, self, self._root)
        self._io.seek(_pos)
        return getattr(self, '_m_table', None)


