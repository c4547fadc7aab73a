"""Images inside uncompressed tars: where every member lies, found once; then read by offset."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO
from zlib import adler32

import numpy as np
from numpy.typing import NDArray

from labelwise.data.dataset import Features, ImageSource, JoinedImages
from labelwise.data.decode import AS_STORED, Reading, decode_image
from labelwise.errors import DataError

_BLOCK = 512
_OPEN_FILES = 128
_ADLER = 65521
_PLAIN = re.compile(
    rb"(.{100}).{24}([0-7]{11})[\0 ].{12}([0-7]{6})[\0 ]{2}([0x]).{100}ustar.{83}(.{155}).{12}", re.DOTALL
)  # name, size, checksum, kind, and the start of a long name
_TIMES = re.compile(rb"(\d+ [amc]time=[\d.]+\n)+")  # what pax adds to most files: fractions of seconds
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


@dataclass(frozen=True)
class TarImages:
    """Images that are members of tars: image ``i`` is ``size[i]`` bytes from ``start[i]`` of ``tars[tar[i]]``."""

    tars: tuple[Path, ...]
    tar: NDArray[np.int32]
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    channels: int
    reading: Reading = AS_STORED

    def __len__(self) -> int:
        return len(self.start)

    def read(self, row: int) -> NDArray[np.uint8]:
        name = f"{self.tars[self.tar[row]]}, member at byte {self.start[row]}"
        return decode_image(self.file(row), self.channels, name, self.reading)

    def file(self, row: int) -> IO[bytes]:
        """The encoded image."""
        return io.BytesIO(read_bytes(self.tars[self.tar[row]], int(self.start[row]), int(self.size[row])))

    def take(self, rows: NDArray[np.int64]) -> TarImages:
        return dataclasses.replace(self, tar=self.tar[rows], start=self.start[rows], size=self.size[rows])


def tar_numbers(source: ImageSource | Features) -> NDArray[np.int32] | None:
    """The tar (N,) that each image lies in, counted over all sources; None unless all images lie in tars."""
    if isinstance(source, TarImages):
        return source.tar
    if not isinstance(source, JoinedImages):
        return None
    numbers, before = [], 0
    for part in source.sources:
        if not isinstance(part, TarImages):
            return None
        numbers.append(part.tar + np.int32(before))
        before += len(part.tars)
    return np.concatenate(numbers)[source.places]


def tar_edges(source: ImageSource | Features, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Where to cut ``rows`` (M,) so that a piece lies in one tar: positions from 0 to M, (pieces + 1,); None unless all
    images lie in tars. Readers put the images of a tar one after the other."""
    numbers = tar_numbers(source)
    if numbers is None:
        return None
    own = numbers[rows]
    return np.r_[0, np.flatnonzero(own[1:] != own[:-1]) + 1, len(own)] if len(own) else np.zeros(1, dtype=np.int64)


def read_bytes(path: Path, start: int, size: int) -> bytes:
    """A part of a file. The last files stay open in this process.

    Raises
    ------
    DataError
        If the file is gone or has become shorter.
    """
    try:
        found = os.pread(_opened(path).fileno(), size, start)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if len(found) < size:
        raise DataError(f"{path}: has become shorter since it was indexed; start again")
    return found


@lru_cache(_OPEN_FILES)
def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")  # closed when the cache drops it and no thread reads from it


def members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, start and size of every file in a tar, in order; nothing but the headers is read.

    Raises
    ------
    DataError
        If it is missing, compressed, truncated or no tar, or if a file in it is sparse.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            at = 0
            while (block := _block_at(file, at)) != bytes(_BLOCK):  # a block of zeros is the mark of the end
                plain = None if tar.pax_headers else _plain(block)  # those of the whole tar may rename its files
                if plain is not None:
                    name, size, is_file = plain
                    if is_file:
                        yield name, at + _BLOCK, size
                    if is_file or _TIMES.fullmatch(file.read(size)):
                        at += _BLOCK - (-size // _BLOCK) * _BLOCK
                        continue
                file.seek(at)
                try:
                    member = tarfile.TarInfo.fromtarfile(tar)
                except tarfile.TarError:
                    raise DataError(f"{path}: truncated or damaged behind byte {at}; copy or write it again") from None
                if member.issparse():
                    raise DataError(
                        f"{path}: {member.name} is stored without its holes (sparse); write the tar without --sparse"
                    )
                if member.isfile():
                    yield member.name, member.offset_data, member.size
                at = tar.offset  # type: ignore[attr-defined]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, tarfile.TarError) as error:
        with path.open("rb") as file:
            kind = _COMPRESSED.get(file.read(2))
        if kind is not None:
            raise DataError(f"{path}: is compressed ({kind}); images are read at their places, so unpack it") from None
        raise DataError(f"{path}: truncated, or no tar ({error})") from None


def _block_at(file: IO[bytes], at: int) -> bytes:
    file.seek(at)
    return file.read(_BLOCK)


def _plain(block: bytes) -> tuple[str, int, bool] | None:
    """Name and size by a header that has nothing special, and whether it is a file's, or one that pax puts before it;
    None for all others, which ``tarfile`` reads in eight times as long."""
    found = _PLAIN.fullmatch(block)
    if found is None:
        return None
    name, size, checksum, kind, prefix = found.groups()
    # The lower half of Adler-32 is 1 + the sum of the bytes, modulo a prime.
    if adler32(block[:148] + b" " * 8 + block[156:]) & 0xFFFF != (1 + int(checksum, 8)) % _ADLER:
        return None
    name = name.partition(b"\0")[0]
    if prefix[0]:
        name = prefix.partition(b"\0")[0] + b"/" + name
    return name.decode("utf-8", "surrogateescape"), int(size, 8), kind == b"0"
