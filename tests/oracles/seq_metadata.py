# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/seq_metadata.ksy, compiler 0.11.0.
# sha256 of the specification: 7e03847356c6bacadac88baf16f337d9d76ae87b14a6c05d22d61bf5a5e0ea5f
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class SeqMetadata(KaitaiStruct):
    """The file x.seq.metadata beside a sequence x.seq: a header and one unit for each slot. A unit has
    entries of several kinds. Behind the entries, a unit of fixed size is filled with whatever was in
    memory.
    
    Kind 8: settings of the camera, in recordings of whole frames. Kind 10: number of a buffer, in
    recordings of half frames. The settings are described as written by the software of 2022
    (version 16). Older ones (DE-16) are shorter; according to a single source they have a whole
    number for the frame rate at byte 32, rotation and flip at 36 and 40, OKRA at 44, and floating
    point numbers for sensor gain, magnification, pixel size, camera length and diffraction pixel
    size from byte 48.
    """
    def __init__(self, _io, _parent=None, _root=None):
        super(SeqMetadata, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self._raw_header = self._io.read_bytes(256)
        _io__raw_header = KaitaiStream(BytesIO(self._raw_header))
        self.header = SeqMetadata.Header(_io__raw_header, self, self._root)


    def _fetch_instances(self):
        pass
        self.header._fetch_instances()
        _ = self.units
        if hasattr(self, '_m_units'):
            pass
            for i in range(len(self._m_units)):
                pass
                self._m_units[i]._fetch_instances()



    class Counter(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(SeqMetadata.Counter, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.number = self._io.read_s8le()


        def _fetch_instances(self):
            pass


    class Entry(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(SeqMetadata.Entry, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.kind = self._io.read_u4le()
            self.size = self._io.read_u4le()
            _on = self.kind
            if _on == 10:
                pass
                self._raw_content = self._io.read_bytes(self.size)
                _io__raw_content = KaitaiStream(BytesIO(self._raw_content))
                self.content = SeqMetadata.Counter(_io__raw_content, self, self._root)
            elif _on == 8:
                pass
                self._raw_content = self._io.read_bytes(self.size)
                _io__raw_content = KaitaiStream(BytesIO(self._raw_content))
                self.content = SeqMetadata.Settings(_io__raw_content, self, self._root)
            else:
                pass
                self.content = self._io.read_bytes(self.size)


        def _fetch_instances(self):
            pass
            _on = self.kind
            if _on == 10:
                pass
                self.content._fetch_instances()
            elif _on == 8:
                pass
                self.content._fetch_instances()
            else:
                pass


    class Header(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(SeqMetadata.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.version = self._io.read_s4le()
            if not self.version == 1:
                raise kaitaistruct.ValidationNotEqualError(1, self.version, self._io, u"/types/header/seq/0")
            self.header_size = self._io.read_s4le()
            if not self.header_size == 256:
                raise kaitaistruct.ValidationNotEqualError(256, self.header_size, self._io, u"/types/header/seq/1")
            self.unit_count = self._io.read_u4le()
            self.unit_size = self._io.read_u4le()
            self.info_size = self._io.read_u4le()
            self.lead_size = self._io.read_u4le()
            self.padding = self._io.read_bytes(232)


        def _fetch_instances(self):
            pass


    class Settings(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(SeqMetadata.Settings, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.size = self._io.read_u4le()
            self.version = self._io.read_u4le()
            self.unbinned_width = self._io.read_u4le()
            self.unbinned_height = self._io.read_u4le()
            self.offset_x = self._io.read_u4le()
            self.offset_y = self._io.read_u4le()
            self.hardware_binning = self._io.read_u4le()
            self.bit_mode = self._io.read_u4le()
            self.frame_rate = self._io.read_f8le()
            self.rotation = self._io.read_u4le()
            self.flip = self._io.read_u4le()
            self.okra = self._io.read_u1()
            self.global_shutter = self._io.read_u1()
            self.off_chip_cds = self._io.read_u1()
            self.akra = self._io.read_u1()
            self.sensor_sequence = self._io.read_u4le()
            self.camera_type = self._io.read_u4le()
            self.gain_mode = self._io.read_u4le()
            self.sensor_gain = self._io.read_f8le()
            self.magnification = self._io.read_f8le()
            self.pixel_size = self._io.read_f8le()
            self.camera_length = self._io.read_f8le()
            self.diffraction_pixel_size = self._io.read_f8le()
            self.unknown = self._io.read_bytes(48)
            self.date_time = self._io.read_bytes(32)
            self.grabber = self._io.read_bytes(8)
            self.firmware = self._io.read_f8le()
            self.tail = self._io.read_bytes_full()


        def _fetch_instances(self):
            pass


    class Unit(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(SeqMetadata.Unit, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.size = self._io.read_u4le()
            self.num_entries = self._io.read_u4le()
            self.entries = []
            for i in range(self.num_entries):
                self.entries.append(SeqMetadata.Entry(self._io, self, self._root))



        def _fetch_instances(self):
            pass
            for i in range(len(self.entries)):
                pass
                self.entries[i]._fetch_instances()



    @property
    def ofs_units(self):
        """Where the first unit begins."""
        if hasattr(self, '_m_ofs_units'):
            return self._m_ofs_units

        self._m_ofs_units = (self.header.header_size + self.header.info_size) + self.header.lead_size
        return getattr(self, '_m_ofs_units', None)

    @property
    def units(self):
        """The units, for files in which all have the same size."""
        if hasattr(self, '_m_units'):
            return self._m_units

        if self.header.unit_size > 0:
            pass
            _pos = self._io.pos()
            self._io.seek(self.ofs_units)
            self._raw__m_units = []
            self._m_units = []
            for i in range(self.header.unit_count):
                self._raw__m_units.append(self._io.read_bytes(self.header.unit_size))
                _io__raw__m_units = KaitaiStream(BytesIO(self._raw__m_units[i]))
                self._m_units.append(SeqMetadata.Unit(_io__raw__m_units, self, self._root))

            self._io.seek(_pos)

        return getattr(self, '_m_units', None)


