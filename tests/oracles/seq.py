# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/seq.ksy, compiler 0.11.0.
# sha256 of the specification: d4aed0c2c0857d366116db4a0ec895a4558659c411f3b58a463811c2e7115df0
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Seq(KaitaiStruct):
    """Images of a camera, recorded by StreamPix or by software built on it (Direct Electron's cameras).
    A file header is followed by slots of equal size: the pixels of an image, the time when it was
    taken, and padding. Slots may be allocated and never written; these have no time. The padding
    behind the last image may be missing.
    
    Times are in UTC. Loop recordings overwrite the oldest slot: the order of recording begins with
    slot oldest_frame.
    
    Values of image_format with one number per pixel are 100 and 101 (mono, Bayer), 112 and 113 (the
    same, real bits uppermost), 114 and 115 (uppermost and big-endian); with bytes of colours, 200
    (blue, green, red), 400 (red, green, blue) and 500 (blue, green, red, unused). Files that are
    compressed (compression other than 0) are not described here.
    
    .. seealso::
       Source - https://www.norpix.com/support/support.php
    """
    def __init__(self, _io, _parent=None, _root=None):
        super(Seq, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self._raw_header = self._io.read_bytes(1024)
        _io__raw_header = KaitaiStream(BytesIO(self._raw_header))
        self.header = Seq.Header(_io__raw_header, self, self._root)


    def _fetch_instances(self):
        pass
        self.header._fetch_instances()
        _ = self.slots
        if hasattr(self, '_m_slots'):
            pass
            for i in range(len(self._m_slots)):
                pass
                self._m_slots[i]._fetch_instances()



    class Header(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Seq.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.magic = self._io.read_u4le()
            if not self.magic == 65261:
                raise kaitaistruct.ValidationNotEqualError(65261, self.magic, self._io, u"/types/header/seq/0")
            self.name = self._io.read_bytes(24)
            self.version = self._io.read_s4le()
            self.header_size = self._io.read_s4le()
            self.description = self._io.read_bytes(512)
            self.width = self._io.read_u4le()
            self.height = self._io.read_u4le()
            self.bit_depth = self._io.read_u4le()
            self.bit_depth_real = self._io.read_u4le()
            self.image_size = self._io.read_u4le()
            self.image_format = self._io.read_u4le()
            self.allocated_frames = self._io.read_u4le()
            self.origin = self._io.read_u4le()
            self.true_image_size = self._io.read_u4le()
            self.frame_rate = self._io.read_f8le()
            self.description_format = self._io.read_s4le()
            self.reference_frame = self._io.read_u4le()
            self.fixed_size = self._io.read_u4le()
            self.flags = self._io.read_u4le()
            self.bayer_pattern = self._io.read_s4le()
            self.time_offset = self._io.read_s4le()
            self.extended_header_size = self._io.read_s4le()
            self.compression = self._io.read_u4le()
            self.reference_time = self._io.read_s4le()
            self.reference_time_ms = self._io.read_u2le()
            self.reference_time_us = self._io.read_u2le()
            self.h264_gop = self._io.read_u4le()
            self.h264_bitrate = self._io.read_u4le()
            self.jpeg_quality = self._io.read_u4le()
            self.h264_decode_format = self._io.read_u4le()
            self.index_offset = self._io.read_s8le()
            self.oldest_frame = self._io.read_u4le()
            self.alignment = self._io.read_u4le()
            self.padding = self._io.read_bytes(360)


        def _fetch_instances(self):
            pass


    class Slot(KaitaiStruct):
        def __init__(self, number, _io, _parent=None, _root=None):
            super(Seq.Slot, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self.number = number
            self._read()

        def _read(self):
            pass


        def _fetch_instances(self):
            pass
            _ = self.microseconds
            if hasattr(self, '_m_microseconds'):
                pass

            _ = self.milliseconds
            if hasattr(self, '_m_milliseconds'):
                pass

            _ = self.pixels
            if hasattr(self, '_m_pixels'):
                pass

            _ = self.seconds
            if hasattr(self, '_m_seconds'):
                pass


        @property
        def microseconds(self):
            """In µs, to add."""
            if hasattr(self, '_m_microseconds'):
                return self._m_microseconds

            if self._root.header.version >= 5:
                pass
                io = self._root._io
                _pos = io.pos()
                io.seek((self.ofs_pixels + self._root.header.image_size) + 6)
                self._m_microseconds = io.read_u2le()
                io.seek(_pos)

            return getattr(self, '_m_microseconds', None)

        @property
        def milliseconds(self):
            """In ms, to add."""
            if hasattr(self, '_m_milliseconds'):
                return self._m_milliseconds

            io = self._root._io
            _pos = io.pos()
            io.seek((self.ofs_pixels + self._root.header.image_size) + 4)
            self._m_milliseconds = io.read_u2le()
            io.seek(_pos)
            return getattr(self, '_m_milliseconds', None)

        @property
        def ofs_pixels(self):
            """Where the pixels begin."""
            if hasattr(self, '_m_ofs_pixels'):
                return self._m_ofs_pixels

            self._m_ofs_pixels = self._root.ofs_slots + self.number * self._root.header.true_image_size
            return getattr(self, '_m_ofs_pixels', None)

        @property
        def pixels(self):
            """Pixels, rows one after the other."""
            if hasattr(self, '_m_pixels'):
                return self._m_pixels

            io = self._root._io
            _pos = io.pos()
            io.seek(self.ofs_pixels)
            self._m_pixels = io.read_bytes(self._root.header.image_size)
            io.seek(_pos)
            return getattr(self, '_m_pixels', None)

        @property
        def seconds(self):
            """Time of the image, s since 1970-01-01 UTC; 0 in slots that were never written."""
            if hasattr(self, '_m_seconds'):
                return self._m_seconds

            io = self._root._io
            _pos = io.pos()
            io.seek(self.ofs_pixels + self._root.header.image_size)
            self._m_seconds = io.read_u4le()
            io.seek(_pos)
            return getattr(self, '_m_seconds', None)


    @property
    def len_stamp(self):
        """Bytes of the time behind an image."""
        if hasattr(self, '_m_len_stamp'):
            return self._m_len_stamp

        self._m_len_stamp = (8 if self.header.version >= 5 else 6)
        return getattr(self, '_m_len_stamp', None)

    @property
    def num_slots(self):
        """Slots in the file of which pixels and time are complete, whether in use or not."""
        if hasattr(self, '_m_num_slots'):
            return self._m_num_slots

        self._m_num_slots = ((((self._io.size() - self.ofs_slots) + self.header.true_image_size) - self.header.image_size) - self.len_stamp) // self.header.true_image_size
        return getattr(self, '_m_num_slots', None)

    @property
    def ofs_slots(self):
        """Where the first slot begins. The header's own header_size is always 1024."""
        if hasattr(self, '_m_ofs_slots'):
            return self._m_ofs_slots

        self._m_ofs_slots = (8192 if self.header.version >= 5 else 1024)
        return getattr(self, '_m_ofs_slots', None)

    @property
    def slots(self):
        """The slots, in the order of the file."""
        if hasattr(self, '_m_slots'):
            return self._m_slots

        _pos = self._io.pos()
        self._io.seek(self.ofs_slots)
        self._m_slots = []
        for i in range(self.num_slots):
            self._m_slots.append(Seq.Slot(i, self._io, self, self._root))

        self._io.seek(_pos)
        return getattr(self, '_m_slots', None)


