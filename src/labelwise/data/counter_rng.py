"""A counter-based random generator, vectorised over samples: the same counter gives the same numbers everywhere.

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). A draw is a
pure function of (seed, stream, sample key, view number, slot), never of the worker, rank or order that asks for it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(
    counter: tuple[NDArray[np.uint64], ...], key: tuple[int, int], rounds: int = 10
) -> tuple[NDArray[np.uint64], ...]:
    """Philox4x32: four counter words (each uint64 arrays holding 32 bits, broadcast together) to four random words."""
    c0, c1, c2, c3 = counter
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(rounds):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ k0, p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def random_words(
    seed: int, stream: str, keys: NDArray[np.uint64], views: NDArray[np.int64], blocks: int, rounds: int = 10
) -> NDArray[np.uint32]:
    """Random 32-bit words, (B, 4 * blocks), for B (sample, view) pairs.

    Parameters
    ----------
    seed : of the run
    stream : what the numbers are for; streams are independent of each other
    keys : (B,) uint64 sample keys
    views : (B,) view numbers, 0 to 2**32 - 1
    blocks : four words each
    rounds : 10 as published; 7 is the fewest that passes BigCrush, for bulk use
    """
    slots = np.arange(blocks, dtype=np.uint64)[None, :]
    low, high = (keys & _LOW)[:, None], (keys >> _SHIFT)[:, None]
    words = philox((slots, views.astype(np.uint64)[:, None], low, high), _philox_key(seed, stream), rounds)
    full = np.broadcast_arrays(*words)
    return np.stack(full, axis=-1).reshape(len(keys), 4 * blocks).astype(np.uint32)


def uniforms(
    seed: int, stream: str, keys: NDArray[np.uint64], views: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), (B, count)."""
    words = random_words(seed, stream, keys, views, -(-count // 4))
    return words[:, :count].astype(np.float64) / 2**32


def generator(*key: Any) -> np.random.Generator:
    """A NumPy generator that depends on ``key`` alone (for orders and other draws that belong to no sample)."""
    return np.random.Generator(np.random.Philox(key=derive_seed(*key)))


def derive_seed(*key: Any) -> int:
    """A 63-bit seed made of any printable parts."""
    digest = hashlib.blake2b("\0".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _philox_key(seed: int, stream: str) -> tuple[int, int]:
    value = derive_seed(seed, stream)
    return value & 0xFFFFFFFF, value >> 32
