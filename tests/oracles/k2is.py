# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/k2is.ksy, compiler 0.11.0.
# sha256 of the specification: c5e4005c1a1001cf5f99874da2cd46e87b1c52b5f904819268c541c202b7ce7b
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class K2is(KaitaiStruct):
    """One of the eight sectors of a recording with a Gatan K2 IS camera. The image is read out in
    sectors of 256 columns side by side: `NAME1.bin` is the left one, `NAME8.bin` the right one. A
    file is nothing but blocks. Recordings may begin or end within a frame, begin with a part of a
    block (search for `sync`), and lack blocks; `block_count` tells which.
    
    32 blocks are a frame of a sector, 1860 rows of 256 columns: first the upper half, blocks from
    right to left, then the lower half in the same way. `block_count` is the same in all sectors for
    blocks of one moment. Eight sectors make 1860 rows of 2048 columns, of which the first 1792 rows
    and 1920 columns see the image.
    
    Pixels have 12 bits and are packed without gaps, rows one after the other. Two pixels take three
    bytes: the first pixel is byte 0 and the low four bits of byte 1 (as its high bits), the second
    is the high four bits of byte 1 (as its low bits) and byte 2.
    
    Whether the recording is a scan is told by `NAME.gtg`, see k2is_gtg.md.
    
    .. seealso::
       Source - https://libertem.github.io/LiberTEM/formats.html
    """
    def __init__(self, _io, _parent=None, _root=None):
        super(K2is, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self._read()

    def _read(self):
        self.blocks = []
        for i in range(self.num_blocks):
            self.blocks.append(K2is.Block(self._io, self, self._root))

        self.remainder = self._io.read_bytes_full()


    def _fetch_instances(self):
        pass
        for i in range(len(self.blocks)):
            pass
            self.blocks[i]._fetch_instances()

        _ = self.first_header
        if hasattr(self, '_m_first_header'):
            pass
            self._m_first_header._fetch_instances()


    class Block(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(K2is.Block, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.header = K2is.Header(self._io, self, self._root)
            self.pixels = self._io.read_bytes(self.header.block_size - 40)


        def _fetch_instances(self):
            pass
            self.header._fetch_instances()


    class Header(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(K2is.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.sync = self._io.read_bytes(4)
            if not self.sync == b"\xFF\xFF\x00\x55":
                raise kaitaistruct.ValidationNotEqualError(b"\xFF\xFF\x00\x55", self.sync, self._io, u"/types/header/seq/0")
            self.unknown1 = self._io.read_bytes(4)
            self.version = self._io.read_u1()
            self.flags = self._io.read_u1()
            self.unknown2 = self._io.read_bytes(6)
            self.block_count = self._io.read_u4be()
            self.width = self._io.read_u2be()
            self.height = self._io.read_u2be()
            self.frame_id = self._io.read_u4be()
            self.x_start = self._io.read_u2be()
            self.y_start = self._io.read_u2be()
            self.x_end = self._io.read_u2be()
            self.y_end = self._io.read_u2be()
            self.block_size = self._io.read_u4be()


        def _fetch_instances(self):
            pass

        @property
        def block_height(self):
            """Rows of the block, 930."""
            if hasattr(self, '_m_block_height'):
                return self._m_block_height

            self._m_block_height = (self.y_end - self.y_start) + 1
            return getattr(self, '_m_block_height', None)

        @property
        def block_width(self):
            """Columns of the block, 16."""
            if hasattr(self, '_m_block_width'):
                return self._m_block_width

            self._m_block_width = (self.x_end - self.x_start) + 1
            return getattr(self, '_m_block_width', None)

        @property
        def shutter_active(self):
            """Whether the shutter is active."""
            if hasattr(self, '_m_shutter_active'):
                return self._m_shutter_active

            self._m_shutter_active = self.flags & 1 == 1
            return getattr(self, '_m_shutter_active', None)


    @property
    def blocks_per_frame(self):
        """Number of blocks that make one frame of the sector, 32."""
        if hasattr(self, '_m_blocks_per_frame'):
            return self._m_blocks_per_frame

        self._m_blocks_per_frame = (self.first_header.width // self.first_header.block_width) * (self.first_header.height // self.first_header.block_height)
        return getattr(self, '_m_blocks_per_frame', None)

    @property
    def first_header(self):
        """Header of the first block, which tells the size of all."""
        if hasattr(self, '_m_first_header'):
            return self._m_first_header

        _pos = self._io.pos()
        self._io.seek(0)
        self._m_first_header = K2is.Header(self._io, self, self._root)
        self._io.seek(_pos)
        return getattr(self, '_m_first_header', None)

    @property
    def num_blocks(self):
        """Number of complete blocks in the file."""
        if hasattr(self, '_m_num_blocks'):
            return self._m_num_blocks

        self._m_num_blocks = self._io.size() // self.first_header.block_size
        return getattr(self, '_m_num_blocks', None)


