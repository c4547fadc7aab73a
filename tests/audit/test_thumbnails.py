"""Small pictures of an audit's page."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelwise.audit import thumbnails
from labelwise.audit.thumbnails import write_thumbnails
from labelwise.data.dataset import Dataset, Features, ImageFiles, ImageSource, PixelArray


def dataset(source: ImageSource | Features) -> Dataset:
    n = len(source)
    ids = np.array([f"image {row}" for row in range(n)])
    return Dataset("pictures", ("a",), ids, ids, np.zeros(n, dtype=np.int64), np.full(n, "fit"), source)


def opened(folder: Path) -> dict[str, Image.Image]:
    with np.load(folder / "thumbnails.npz", allow_pickle=False) as found:
        blob, offset = found["jpeg"].tobytes(), found["offset"]
        assert offset.dtype == np.int64 and offset[0] == 0 and offset[-1] == len(blob)
        files = [blob[start:stop] for start, stop in itertools.pairwise(offset)]
        return {name: Image.open(io.BytesIO(file)) for name, file in zip(found["id"].tolist(), files, strict=True)}


def test_small_ones_keep_their_size_and_large_ones_their_sides(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 300 * 100 * 3).reshape(300, 100, 3).astype(np.uint8)
    files = []
    for name, pixels in {"tall": smooth, "small": smooth[:20, :30], "grey": smooth[:40, :, 0]}.items():
        files.append(tmp_path / f"{name}.png")
        Image.fromarray(pixels).save(files[-1])
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    source = ImageFiles((*files, broken), 3)
    write_thumbnails(dataset(source), np.array([1, 0, 3, 1, 2]), tmp_path)
    found = opened(tmp_path)
    sizes = {name: picture.size for name, picture in found.items()}
    assert sizes == {"image 1": (30, 20), "image 0": (43, 128), "image 2": (100, 40)}
    close = np.asarray(found["image 1"], dtype=float) - smooth[:20, :30]
    assert np.abs(close).mean() < 6
    write_thumbnails(dataset(PixelArray(smooth[None, :40, :50, :1])), np.array([0]), tmp_path)
    assert opened(tmp_path)["image 0"].mode == "L"


def test_many_noisy_pictures_are_made_smaller_until_a_page_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 160, 160, 3), dtype=np.uint8)
    monkeypatch.setattr(thumbnails, "MOST_BYTES", 150_000)
    for number, side in ((1, 128), (20, 96), (40, 64)):
        write_thumbnails(dataset(PixelArray(noise)), np.arange(number), tmp_path)
        assert {picture.size for picture in opened(tmp_path).values()} == {(side, side)}
        assert (tmp_path / "thumbnails.npz").stat().st_size < 160_000


@pytest.mark.parametrize("source", [Features(np.zeros((2, 4), dtype=np.float32))])
def test_embeddings_have_no_pictures(tmp_path: Path, source: Features) -> None:
    write_thumbnails(dataset(source), np.array([0, 1]), tmp_path)
    assert not (tmp_path / "thumbnails.npz").exists()
