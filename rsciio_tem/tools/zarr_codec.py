# SPDX-License-Identifier: GPL-3.0-or-later
"""The codec ``rsciio_tem.frames`` as zarr 3 has them, which finds it by an entry point."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rsciio_tem.tools.frames_codec import NAME, decoded

__all__ = ["FramesCodec"]  # noqa: F822


def __getattr__(name: str) -> Any:
    """Make the class on first use: its base is in zarr 3, which imports this module."""
    if name == "FramesCodec":
        return _codec()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@lru_cache
def _codec() -> type:
    import asyncio

    from zarr.abc.codec import BytesBytesCodec

    class FramesCodec(BytesBytesCodec):  # type: ignore[misc]
        """Bytes of a recording to those of its pixels."""

        is_fixed_size = False

        def __init__(self, **entries: Any) -> None:
            self.entries = entries

        @classmethod
        def from_dict(cls, data: dict[str, Any]) -> FramesCodec:
            return cls(**data.get("configuration", {}))

        def to_dict(self) -> dict[str, Any]:
            return {"name": NAME, "configuration": self.entries}

        async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
            values = await asyncio.to_thread(decoded, self.entries, chunk_bytes.as_numpy_array())
            return chunk_spec.prototype.buffer.from_bytes(values.tobytes())

        async def _encode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
            raise TypeError(f"{NAME} only reads: recordings are never changed")

        def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
            raise NotImplementedError

    return FramesCodec
