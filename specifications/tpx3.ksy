# SPDX-License-Identifier: GPL-3.0-or-later
meta:
  id: tpx3
  title: Stream of Timepix3 packets (.tpx3) of Amsterdam Scientific Instruments
  file-extension: tpx3
  license: GPL-3.0-or-later
  ks-version: 0.9
  endian: le
  bit-endian: le

doc: |
  The stream of the readout board (SPIDR) as SERVAL writes it: chunks, each of one chip, with packets
  of 8 bytes. Times of different packets are counted by the same clock, in different steps.
  What they mean together, and where this is known from, is in tpx3.md.
doc-ref: tpx3.md

seq:
  - id: chunks
    type: chunk
    repeat: eos
    doc: Until the end of the file; the last may be cut off.

types:
  chunk:
    seq:
      - id: magic
        contents: TPX3
        doc: Begins each chunk.
      - id: chip
        type: u1
        doc: Number of the chip, from 0.
      - id: mode
        type: u1
        doc: Reserved; 0.
      - id: len_packets
        type: u2
        doc: Bytes of the packets, 8 for each.
      - id: packets
        size: len_packets
        type: packets
        doc: The packets.
  packets:
    seq:
      - id: packets
        size: 8
        type: packet
        repeat: eos
        doc: One word each.
  packet:
    seq:
      - id: hit
        type: hit
        if: kind >> 4 == 0xb
        doc: A pixel was hit.
      - id: trigger
        type: trigger
        if: kind >> 4 == 0x6
        doc: An edge of a trigger signal.
      - id: time_low
        type: time_low
        if: kind == 0x44
        doc: Lower half of the global time.
      - id: time_high
        type: time_high
        if: kind == 0x45
        doc: Upper half of the global time.
    instances:
      kind:
        pos: 7
        type: u1
        doc: The most significant byte tells the kind of packet.
  hit:
    seq:
      - id: spidr_time
        type: b16
        doc: Steps of 0.4096 ms; again 0 after 26.8435456 s.
      - id: ftoa
        type: b4
        doc: Fine time of arrival, steps of 1.5625 ns, to be subtracted.
      - id: tot
        type: b10
        doc: Time over threshold, steps of 25 ns.
      - id: toa
        type: b14
        doc: Time of arrival, steps of 25 ns.
      - id: pixel
        type: b2
        doc: Row within four rows.
      - id: right
        type: b1
        doc: Column within two columns.
      - id: superpixel
        type: b6
        doc: Which four rows.
      - id: double_column
        type: b7
        doc: Which two columns.
      - id: type
        type: b4
        doc: 0xb.
    instances:
      column:
        value: double_column * 2 + right.to_i
        doc: Column of the chip.
      row:
        value: superpixel * 4 + pixel
        doc: Row of the chip.
  trigger:
    seq:
      - id: reserved
        type: b5
        doc: Without meaning.
      - id: fine
        type: b4
        doc: 1 to 12, steps of 25/96 ns, 1 being 0; firmware was seen to write 0.
      - id: coarse
        type: b35
        doc: Steps of 3.125 ns; again 0 after 107.3741824 s.
      - id: number
        type: b12
        doc: Counts triggers.
      - id: edge
        type: b4
        enum: edge
        doc: Which edge of which input.
      - id: type
        type: b4
        doc: 0x6.
  time_low:
    seq:
      - id: spidr_time
        type: b16
        doc: As in hits.
      - id: time
        type: b32
        doc: Steps of 25 ns.
      - id: reserved
        type: b8
        doc: Without meaning.
      - id: type
        type: b8
        doc: 0x44.
  time_high:
    seq:
      - id: spidr_time
        type: b16
        doc: As in hits.
      - id: time
        type: b16
        doc: Steps of 107.3741824 s.
      - id: reserved
        type: b24
        doc: Without meaning.
      - id: type
        type: b8
        doc: 0x45.

enums:
  edge:
    0xf: tdc1_rising
    0xa: tdc1_falling
    0xe: tdc2_rising
    0xb: tdc2_falling
