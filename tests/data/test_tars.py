"""Headers of tars: what is found is what ``tarfile`` finds, whoever wrote them, or one line that says what is wrong."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from labelwise.data.tars import members
from labelwise.errors import DataError

NAMES = [
    "a.jpg",
    "./b/a.cls",
    "n" * 100,
    f"{'folder/' * 20}name.jpg",  # a prefix in USTAR
    "n" * 250 + ".jpg",
    "käse.jpg",
    "\udce4.jpg",  # a byte that is not UTF-8
]


def member(name: str, data: bytes = b"x", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def write(path: Path, content: list[tuple[tarfile.TarInfo, bytes]], kind: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as tar:
        for info, data in content:
            tar.addfile(info, io.BytesIO(data))
    return path


def by_tarfile(path: Path) -> list[tuple[str, int, int]]:
    with tarfile.open(path) as tar:
        return [(one.name, one.offset_data, one.size) for one in tar if one.isfile()]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(tmp_path, kind):
    names = [name for name in NAMES if kind != tarfile.USTAR_FORMAT or len(name) < 200]
    content = [member(name, b"x" * size) for name, size in zip(names, (0, 1, 511, 512, 513, 7, 8), strict=False)]
    content += [
        member("times.jpg", mtime=0.5),
        member("folder", b"", type=tarfile.DIRTYPE),
        member("link.jpg", b"", type=tarfile.SYMTYPE, linkname="a.jpg"),
        member("hard.jpg", b"", type=tarfile.LNKTYPE, linkname="a.jpg"),
        member("old.jpg", type=tarfile.AREGTYPE),
        member("whole.jpg", type=tarfile.CONTTYPE),
        member("last.jpg"),
    ]
    path = write(tmp_path / "x.tar", content, kind)
    found = list(members(path))
    assert found == by_tarfile(path)
    assert [name for name, _, _ in found] == [*names, "times.jpg", "old.jpg", "whole.jpg", "last.jpg"]


def test_a_header_of_the_whole_tar_counts(tmp_path):
    """``git archive`` writes one with a comment; one with a name renames what follows."""
    for headers in ({"comment": "c0ffee"}, {"path": "other.jpg"}):
        path = tmp_path / "x.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers=headers) as tar:
            tar.addfile(member("a.jpg")[0], io.BytesIO(b"x"))
        found = list(members(path))
        assert found == by_tarfile(path) and found[0][0] == headers.get("path", "a.jpg")


def _large_number(block: bytes) -> bytes:
    """The size as GNU writes those above 8 GB."""
    return block[:124] + b"\x80" + (3).to_bytes(11, "big") + block[136:]


def _signed(block: bytes) -> bytes:
    """A letter above 127, whose checksum old tars counted as a negative number."""
    return b"\xe4" + block[1:]


@pytest.mark.parametrize(("change", "less"), [(_large_number, 0), (_signed, 256)])
def test_headers_that_are_written_otherwise(tmp_path, change: Callable[[bytes], bytes], less: int):
    path = write(tmp_path / "x.tar", [member("a.jpg"), member("b.jpg", b"123")])
    data = path.read_bytes()
    block = change(data[1024:1536])
    checksum = sum(block) - sum(block[148:156]) + 256 - less
    path.write_bytes(data[:1024] + block[:148] + b"%06o\0 " % checksum + block[156:] + data[1536:])
    assert list(members(path)) == by_tarfile(path)
    assert list(members(path))[1][1:] == (1536, 3)


def test_a_changed_byte_is_found_or_changes_nothing(tmp_path):
    path = write(tmp_path / "x.tar", [member("a.jpg"), member("b.jpg")])
    data, whole = path.read_bytes(), by_tarfile(path)
    for place in range(1024, 1536):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        if place == 1024 + 155:  # behind the end of the checksum
            assert list(members(path)) == whole
            continue
        with pytest.raises(DataError, match="truncated or damaged behind byte 1024"):
            list(members(path))


def test_a_sparse_file_is_refused(tmp_path):
    path = write(tmp_path / "x.tar", [member("a.jpg"), member("b.jpg", type=tarfile.GNUTYPE_SPARSE)])
    with pytest.raises(
        DataError, match=r"x.tar: b.jpg is stored without its holes \(sparse\); write the tar without --sparse"
    ):
        list(members(path))


@pytest.mark.parametrize(("kind", "time"), [(tarfile.USTAR_FORMAT, 5), (tarfile.PAX_FORMAT, 5.5)])
def test_usual_headers_need_no_tarfile(tmp_path, monkeypatch, kind, time):
    """Those of pax that only add fractions of seconds are usual: Python's ``tarfile`` and WebDataset write them."""
    names = NAMES[:4] if kind == tarfile.USTAR_FORMAT else NAMES[:3]
    path = write(tmp_path / "x.tar", [member(name, mtime=time) for name in names], kind)
    expected = by_tarfile(path)
    monkeypatch.setattr(tarfile.TarInfo, "fromtarfile", None)  # is all that reads the others
    monkeypatch.setattr(tarfile.TarFile, "next", lambda tar: None)
    assert list(members(path)) == expected and [name for name, _, _ in expected] == names
