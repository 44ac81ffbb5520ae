# SPDX-License-Identifier: GPL-3.0-or-later
# Written by specifications/compile.py from specifications/mib.ksy, compiler 0.11.0.
# sha256 of the specification: 9c36cb7e6c34ef3b5f18a48efed685e4d9bdfe4da197e3a9616a2b53fbb9c17e
# This is a generated file! Please edit source .ksy file and use kaitai-struct-compiler to rebuild
# type: ignore

import kaitaistruct
from kaitaistruct import KaitaiStruct, KaitaiStream, BytesIO


if getattr(kaitaistruct, 'API_VERSION', (0, 9)) < (0, 11):
    raise Exception("Incompatible Kaitai Struct Python API: 0.11 or later is required, but you have %s" % (kaitaistruct.__version__))

class Mib(KaitaiStruct):
    """Frames of a Merlin or MerlinEM camera (Medipix3 chips), written back to back. There is no file
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
    """
    def __init__(self, counter_depth, _io, _parent=None, _root=None):
        super(Mib, self).__init__(_io)
        self._parent = _parent
        self._root = _root or self
        self.counter_depth = counter_depth
        self._read()

    def _read(self):
        self.frames = []
        for i in range(self.num_frames):
            self.frames.append(Mib.Frame(self._io, self, self._root))

        self.remainder = self._io.read_bytes_full()


    def _fetch_instances(self):
        pass
        for i in range(len(self.frames)):
            pass
            self.frames[i]._fetch_instances()

        _ = self.first_header
        if hasattr(self, '_m_first_header'):
            pass
            self._m_first_header._fetch_instances()


    class Extension(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Mib.Extension, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.utc_time = (self._io.read_bytes_term(44, False, True, True)).decode(u"ASCII")
            self.shutter = (self._io.read_bytes_term(44, False, True, True)).decode(u"ASCII")
            self.counter_depth = (self._io.read_bytes_term(44, False, True, True)).decode(u"ASCII")
            self.padding = self._io.read_bytes_full()


        def _fetch_instances(self):
            pass


    class Frame(KaitaiStruct):
        def __init__(self, _io, _parent=None, _root=None):
            super(Mib.Frame, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.header = Mib.Header(self._io, self, self._root)
            self.pixels = self._io.read_bytes(self.header.len_pixels)
            _ = self.pixels
            if not self.header.bits_per_pixel > 0:
                raise kaitaistruct.ValidationExprError(self.pixels, self._io, u"/types/frame/seq/1")


        def _fetch_instances(self):
            pass
            self.header._fetch_instances()


    class Header(KaitaiStruct):
        """Text fields separated by commas. The first nine have fixed widths and are enough to compute
        the size of the frame.
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Mib.Header, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.type_id = (self._io.read_bytes(3)).decode(u"ASCII")
            if not self.type_id == u"MQ1":
                raise kaitaistruct.ValidationNotEqualError(u"MQ1", self.type_id, self._io, u"/types/header/seq/0")
            self.c0 = self._io.read_bytes(1)
            if not self.c0 == b"\x2C":
                raise kaitaistruct.ValidationNotEqualError(b"\x2C", self.c0, self._io, u"/types/header/seq/1")
            self.sequence = (self._io.read_bytes(6)).decode(u"ASCII")
            self.c1 = self._io.read_bytes(1)
            if not self.c1 == b"\x2C":
                raise kaitaistruct.ValidationNotEqualError(b"\x2C", self.c1, self._io, u"/types/header/seq/3")
            self.offset = (self._io.read_bytes(5)).decode(u"ASCII")
            self.c2 = self._io.read_bytes(1)
            if not self.c2 == b"\x2C":
                raise kaitaistruct.ValidationNotEqualError(b"\x2C", self.c2, self._io, u"/types/header/seq/5")
            self.chips = (self._io.read_bytes(2)).decode(u"ASCII")
            self.c3 = self._io.read_bytes(1)
            if not self.c3 == b"\x2C":
                raise kaitaistruct.ValidationNotEqualError(b"\x2C", self.c3, self._io, u"/types/header/seq/7")
            self.width = (self._io.read_bytes(4)).decode(u"ASCII")
            self.c4 = self._io.read_bytes(1)
            if not self.c4 == b"\x2C":
                raise kaitaistruct.ValidationNotEqualError(b"\x2C", self.c4, self._io, u"/types/header/seq/9")
            self.height = (self._io.read_bytes(4)).decode(u"ASCII")
            self.c5 = self._io.read_bytes(1)
            if not self.c5 == b"\x2C":
                raise kaitaistruct.ValidationNotEqualError(b"\x2C", self.c5, self._io, u"/types/header/seq/11")
            self.pixel_type = (self._io.read_bytes(3)).decode(u"ASCII")
            if not  ((self.pixel_type == u"U01") or (self.pixel_type == u"U08") or (self.pixel_type == u"U16") or (self.pixel_type == u"U32") or (self.pixel_type == u"U64") or (self.pixel_type == u"R64")) :
                raise kaitaistruct.ValidationNotAnyOfError(self.pixel_type, self._io, u"/types/header/seq/12")
            self.c6 = self._io.read_bytes(1)
            if not self.c6 == b"\x2C":
                raise kaitaistruct.ValidationNotEqualError(b"\x2C", self.c6, self._io, u"/types/header/seq/13")
            self.layout = (self._io.read_bytes(6)).decode(u"ASCII")
            self.c7 = self._io.read_bytes(1)
            if not self.c7 == b"\x2C":
                raise kaitaistruct.ValidationNotEqualError(b"\x2C", self.c7, self._io, u"/types/header/seq/15")
            self.chip_select = (self._io.read_bytes(2)).decode(u"ASCII")
            self.c8 = self._io.read_bytes(1)
            if not self.c8 == b"\x2C":
                raise kaitaistruct.ValidationNotEqualError(b"\x2C", self.c8, self._io, u"/types/header/seq/17")
            self._raw_settings = self._io.read_bytes(int(self.offset) - 44)
            _io__raw_settings = KaitaiStream(BytesIO(self._raw_settings))
            self.settings = Mib.Settings(_io__raw_settings, self, self._root)


        def _fetch_instances(self):
            pass
            self.settings._fetch_instances()

        @property
        def bits_per_pixel(self):
            """Bits that each of the `width * height` stored pixels takes."""
            if hasattr(self, '_m_bits_per_pixel'):
                return self._m_bits_per_pixel

            self._m_bits_per_pixel = ((1 if self.depth == 1 else (8 if self.depth == 6 else (16 if  ((self.depth == 12) or (self.depth == 24))  else 0))) if self.pixel_type == u"R64" else int(self.pixel_type[1:3]))
            return getattr(self, '_m_bits_per_pixel', None)

        @property
        def depth(self):
            """Counter depth in bits, 0 if neither the header nor the caller states it."""
            if hasattr(self, '_m_depth'):
                return self._m_depth

            self._m_depth = (self._root.counter_depth if self._root.counter_depth > 0 else (int(self.settings.extension.counter_depth) if self.settings.has_extension else 0))
            return getattr(self, '_m_depth', None)

        @property
        def len_pixels(self):
            """Bytes of pixels."""
            if hasattr(self, '_m_len_pixels'):
                return self._m_len_pixels

            self._m_len_pixels = ((int(self.width) * int(self.height)) * self.bits_per_pixel) // 8
            return getattr(self, '_m_len_pixels', None)


    class Settings(KaitaiStruct):
        """Local time, shutter time in seconds, counter (layer in colour mode), colour mode, gain,
        eight thresholds in keV, then for every chip its type and 27 DAC values. The software of
        2017 and 2018 leaves thresholds and DAC values out of `R64` headers.
        """
        def __init__(self, _io, _parent=None, _root=None):
            super(Mib.Settings, self).__init__(_io)
            self._parent = _parent
            self._root = _root
            self._read()

        def _read(self):
            self.fields = []
            i = 0
            while True:
                _ = (self._io.read_bytes_term(44, False, True, False)).decode(u"ASCII")
                self.fields.append(_)
                if  ((_ == u"MQ1A") or (self._io.is_eof())) :
                    break
                i += 1
            if self.has_extension:
                pass
                self.extension = Mib.Extension(self._io, self, self._root)



        def _fetch_instances(self):
            pass
            for i in range(len(self.fields)):
                pass

            if self.has_extension:
                pass
                self.extension._fetch_instances()


        @property
        def has_extension(self):
            """Whether the header has the `MQ1A` extension."""
            if hasattr(self, '_m_has_extension'):
                return self._m_has_extension

            self._m_has_extension = self.fields[-1] == u"MQ1A"
            return getattr(self, '_m_has_extension', None)


    @property
    def first_header(self):
        """Header of the first frame, which tells the size of every frame."""
        if hasattr(self, '_m_first_header'):
            return self._m_first_header

        _pos = self._io.pos()
        self._io.seek(0)
        self._m_first_header = Mib.Header(self._io, self, self._root)
        self._io.seek(_pos)
        return getattr(self, '_m_first_header', None)

    @property
    def len_frame(self):
        """Distance between the starts of two frames, in bytes."""
        if hasattr(self, '_m_len_frame'):
            return self._m_len_frame

        self._m_len_frame = int(self.first_header.offset) + self.first_header.len_pixels
        return getattr(self, '_m_len_frame', None)

    @property
    def num_frames(self):
        """Number of complete frames in the file."""
        if hasattr(self, '_m_num_frames'):
            return self._m_num_frames

        self._m_num_frames = self._io.size() // self.len_frame
        return getattr(self, '_m_num_frames', None)


