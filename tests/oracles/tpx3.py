# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/tpx3.ksy, compiler 0.11.0.
# sha256 of the specification: 4cefaeefad395584bf92a248e7246526d1ef514ef617606f2b6e21ecb1be9c76
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO
from enum import IntEnum


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Tpx3(KaitaiStruct):
    """The stream of the readout board (SPIDR) as SERVAL writes it: chunks, each of one chip, with packets
    of 8 bytes. Times of different packets are counted by the same clock, in different steps.
    What they mean together, and where this is known from, is in tpx3.md.
    
    .. seealso::
       tpx3.md
    """

    class Edge(IntEnum):
        tdc1_falling = 10
        tdc2_falling = 11
        tdc2_rising = 14
        tdc1_rising = 15
    def __init__(self, _io, _parent=None, _root=None):
        super(Tpx3, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.chunks = []
        i = 0
        while not self._io.is_eof():
            self.chunks.append(Tpx3.Chunk(self._io, self, self._root))
            i += 1



    def _fetch_instances(self):
        pass
        for i in range(len(self.chunks)):
            pass
            self.chunks[i]._fetch_instances()


    class Chunk(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Tpx3.Chunk, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.magic = self._io.read_bytes(4)
            if not self.magic == b"\x54\x50\x58\x33":
                raise kaitaistruct.ValidationNotEqualError(b"\x54\x50\x58\x33", self.magic, self._io, u"/types/chunk/seq/0")
            self.chip = self._io.read_u1()
            self.mode = self._io.read_u1()
            self.len_packets = self._io.read_u2le()
            self._raw_packets = self._io.read_bytes(self.len_packets)
            _io__raw_packets = KaitaiStream(BytesIO(self._raw_packets))
            self.packets = Tpx3.Packets(_io__raw_packets, self, self._root)


        def _fetch_instances(self):
            pass
            self.packets._fetch_instances()


    class Hit(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Tpx3.Hit, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.spidr_time = self._io.read_bits_int_le(16)
            self.ftoa = self._io.read_bits_int_le(4)
            self.tot = self._io.read_bits_int_le(10)
            self.toa = self._io.read_bits_int_le(14)
            self.pixel = self._io.read_bits_int_le(2)
            self.right = self._io.read_bits_int_le(1) != 0
            self.superpixel = self._io.read_bits_int_le(6)
            self.double_column = self._io.read_bits_int_le(7)
            self.type = self._io.read_bits_int_le(4)


        def _fetch_instances(self):
            pass

        @property
        def column(self):
            """Column of the chip."""
            if hasattr(self, '_m_column'):
                return self._m_column

            self._m_column = self.double_column * 2 + int(self.right)
            return getattr(self, '_m_column', None)

        @property
        def row(self):
            """Row of the chip."""
            if hasattr(self, '_m_row'):
                return self._m_row

            self._m_row = self.superpixel * 4 + self.pixel
            return getattr(self, '_m_row', None)


    class Packet(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Tpx3.Packet, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            if self.kind >> 4 == 11:
                pass
                self.hit = Tpx3.Hit(self._io, self, self._root)

            if self.kind >> 4 == 6:
                pass
                self.trigger = Tpx3.Trigger(self._io, self, self._root)

            if self.kind == 68:
                pass
                self.time_low = Tpx3.TimeLow(self._io, self, self._root)

            if self.kind == 69:
                pass
                self.time_high = Tpx3.TimeHigh(self._io, self, self._root)



        def _fetch_instances(self):
            pass
            if self.kind >> 4 == 11:
                pass
                self.hit._fetch_instances()

            if self.kind >> 4 == 6:
                pass
                self.trigger._fetch_instances()

            if self.kind == 68:
                pass
                self.time_low._fetch_instances()

            if self.kind == 69:
                pass
                self.time_high._fetch_instances()

            _ = self.kind
            if hasattr(self, '_m_kind'):
                pass


        @property
        def kind(self):
            """The most significant byte tells the kind of packet."""
            if hasattr(self, '_m_kind'):
                return self._m_kind

            _pos = self._io.pos()
            self._io.seek(7)
            self._m_kind = self._io.read_u1()
            self._io.seek(_pos)
            return getattr(self, '_m_kind', None)


    class Packets(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Tpx3.Packets, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self._raw_packets = []
            self.packets = []
            i = 0
            while not self._io.is_eof():
                self._raw_packets.append(self._io.read_bytes(8))
                _io__raw_packets = KaitaiStream(BytesIO(self._raw_packets[-1]))
                self.packets.append(Tpx3.Packet(_io__raw_packets, self, self._root))
                i += 1



        def _fetch_instances(self):
            pass
            for i in range(len(self.packets)):
                pass
                self.packets[i]._fetch_instances()



    class TimeHigh(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Tpx3.TimeHigh, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.spidr_time = self._io.read_bits_int_le(16)
            self.time = self._io.read_bits_int_le(16)
            self.reserved = self._io.read_bits_int_le(24)
            self.type = self._io.read_bits_int_le(8)


        def _fetch_instances(self):
            pass


    class TimeLow(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Tpx3.TimeLow, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.spidr_time = self._io.read_bits_int_le(16)
            self.time = self._io.read_bits_int_le(32)
            self.reserved = self._io.read_bits_int_le(8)
            self.type = self._io.read_bits_int_le(8)


        def _fetch_instances(self):
            pass


    class Trigger(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Tpx3.Trigger, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.reserved = self._io.read_bits_int_le(5)
            self.fine = self._io.read_bits_int_le(4)
            self.coarse = self._io.read_bits_int_le(35)
            self.number = self._io.read_bits_int_le(12)
            self.edge = KaitaiStream.resolve_enum(Tpx3.Edge, self._io.read_bits_int_le(4))
            self.type = self._io.read_bits_int_le(4)


        def _fetch_instances(self):
            pass



