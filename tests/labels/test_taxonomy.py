"""Trees of classes: distances against brute force, soft labels of a given mass, and files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.errors import ConfigError, DataError
from labelwise.labels.taxonomy import read_taxonomy, soft_labels, temperature_of

TREES = Path(__file__).parents[2] / "recipes" / "taxonomies"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FAR = 10**6

# Numbers of the parents, all lower than the node's own; node 0 is the root.
TREE = st.integers(1, 9).flatmap(lambda n: st.tuples(*(st.integers(0, child) for child in range(n))))
GRAPH = st.integers(1, 9).flatmap(
    lambda n: st.tuples(*(st.sets(st.integers(0, child), min_size=1, max_size=3) for child in range(n)))
)

# offset, file, type, words in hex, pointers in decimal; the fish is an instance, the bass three things.
WORDNET = """\
  1 a licence stands here
00000001 03 n 01 entity 0 002 ~ 00000002 n 0000 ~ 00000003 n 0000 | all there is
00000002 05 n 01 animal 0 001 @ 00000001 n 0000 | it lives
00000003 06 n 01 sound 0 002 @ 00000001 n 0000 + 00000002 v 0101 | it is heard
00000004 05 n 0a goldfish 0 Carassius_auratus 0 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 001 @i 00000002 n 0000 | a pet; "a | b"
00000005 05 n 02 bass 0 sea_bass 1 001 @ 00000002 n 0000 | it swims
00000006 06 n 01 bass 2 001 @ 00000003 n 0000 | it is low
00000007 06 n 02 bass 3 bass_voice 0 001 @ 00000006 n 0000 | he sings
"""


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content)
    return path


def csv_of(folder: Path, *rows: str) -> Path:
    return write(folder, "tree.csv", "\n".join(["child,parent", *rows]))


def error_of(path: Path, *classes: str) -> str:
    with pytest.raises(DataError) as caught:
        read_taxonomy(path, classes)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def floyd_warshall(edges: list[tuple[int, int]], n: int, both_ways: bool) -> np.ndarray:
    length = np.where(np.eye(n, dtype=bool), 0, FAR)
    for child, parent in edges:
        length[child, parent] = 1
        if both_ways:
            length[parent, child] = 1
    for via in range(n):
        length = np.minimum(length, length[:, [via]] + length[[via]])
    return length


@settings(deadline=None, max_examples=40)
@given(parents=TREE)
def test_in_a_tree_the_distance_is_the_shortest_path(parents, tmp_path_factory):
    edges = [(child, parent) for child, parent in enumerate(parents, start=1)]
    names = [str(node) for node in range(len(parents) + 1)]
    path = csv_of(tmp_path_factory.mktemp("tree"), *(f"{child},{parent}" for child, parent in edges))
    distance = read_taxonomy(path, names)
    assert distance.dtype == np.int64
    np.testing.assert_array_equal(distance, floyd_warshall(edges, len(names), both_ways=True))

    def nested(node: int) -> dict[str, dict]:
        return {str(child): nested(child) for child, parent in edges if parent == node}

    as_json = write(path.parent, "tree.json", json.dumps({"0": nested(0)}))
    np.testing.assert_array_equal(read_taxonomy(as_json, names), distance)
    np.testing.assert_array_equal(read_taxonomy(as_json, names[::-2]), distance[::-2, ::-2])


@settings(deadline=None, max_examples=40)
@given(parents=GRAPH)
def test_with_several_parents_it_is_the_way_over_the_nearest_common_ancestor(parents, tmp_path_factory):
    edges = [(child, parent) for child, above in enumerate(parents, start=1) for parent in above]
    names = [str(node) for node in range(len(parents) + 1)]
    path = csv_of(tmp_path_factory.mktemp("graph"), *(f"{child},{parent}" for child, parent in edges))
    up = floyd_warshall(edges, len(names), both_ways=False)
    expected = (up[:, None, :] + up[None, :, :]).min(axis=2)
    np.testing.assert_array_equal(read_taxonomy(path, names), expected)


def test_a_common_descendant_brings_two_classes_no_nearer(tmp_path):
    rows = ("seaplane,boat", "seaplane,plane", "boat,ship", "plane,aircraft", "ship,vehicle", "aircraft,vehicle")
    path = csv_of(tmp_path, *rows)
    assert read_taxonomy(path, ["boat", "plane", "seaplane"]).tolist() == [[0, 4, 1], [4, 0, 1], [1, 1, 0]]


def test_a_class_may_lie_above_another_and_roots_may_be_listed(tmp_path):
    path = csv_of(tmp_path, "cat,animal", "dog,animal", "tabby,cat", "animal,")
    assert read_taxonomy(path, ["animal", "tabby", "dog"]).tolist() == [[0, 2, 1], [2, 0, 3], [1, 3, 0]]


def test_json_has_lists_or_objects_of_names_and_an_unnamed_root(tmp_path):
    path = write(tmp_path, "tree.json", '{"animal": {"pet": ["cat", "dog"], "frog": []}, "car": {}}')
    expected = [[0, 2, 3, 4], [2, 0, 3, 4], [3, 3, 0, 3], [4, 4, 3, 0]]
    assert read_taxonomy(path, ["cat", "dog", "frog", "car"]).tolist() == expected


def test_names_of_the_data_may_stand_beside_the_nodes(tmp_path):
    path = write(tmp_path, "t.csv", 'parent,child,name\n1,2,"cat, tabby"\n1,3,dog\n3,2,\n')
    assert read_taxonomy(path, ["cat, tabby", "dog"]).tolist() == [[0, 1], [1, 0]]
    assert read_taxonomy(path, ["2", "dog"]).tolist() == [[0, 1], [1, 0]]


def test_text_is_utf8_with_or_without_a_byte_order_mark(tmp_path):
    for name, content in (("t.csv", "child,parent\nlöwe,tier\nwal,tier\n"), ("t.json", '{"tier": ["löwe", "wal"]}')):
        for encoding in ("utf-8", "utf-8-sig"):
            (tmp_path / name).write_text(content, encoding=encoding)
            assert read_taxonomy(tmp_path / name, ["löwe", "wal"]).tolist() == [[0, 2], [2, 0]]


def test_wordnet_by_wnid_by_wnid_and_name_and_by_words(tmp_path):
    path = write(tmp_path, "data.noun", WORDNET)
    expected = [[0, 2, 5], [2, 0, 5], [5, 5, 0]]
    for classes in (
        ("n00000004", "n00000005", "n00000007"),
        ("n00000004 gold fish", "n00000005, a fish", "n00000007_bass"),
        ("goldfish", "bass, sea bass", "bass voice"),
        ("Carassius auratus, goldfish", "sea bass", "bass, bass voice"),
    ):
        assert read_taxonomy(path, classes).tolist() == expected
    message = error_of(path, "goldfish", "bass")
    assert "'bass'" in message and "3 nodes (n00000005, n00000006, n00000007)" in message
    assert "1 of 2 classes are not in it: 'goldfish, bass'" in error_of(path, "goldfish, bass", "sound")
    assert "not in it" in error_of(path, "n000000041")


@pytest.mark.parametrize(
    "line",
    ["00000008 05 n 02 bass 0 001 @ 00000002 n 0000 | too few words", "00000008 29 v 01 run 0 000 | no noun", "entity"],
)
def test_a_damaged_line_of_wordnet_is_named(tmp_path, line):
    assert "line 9 " in error_of(write(tmp_path, "data.noun", WORDNET + line), "goldfish")


def test_classes_that_are_missing_repeated_or_apart(tmp_path):
    path = csv_of(tmp_path, "cat,pet", "dog,pet", "car,vehicle")
    message = error_of(path, "cat", "a", "b", "c", "d")
    assert "4 of 5 classes are not in it: 'a', 'b', 'c', ..." in message
    assert "'cat' and 'cat' are both 'cat'" in error_of(path, "cat", "dog", "cat")
    assert "'dog' and 'car' have no ancestor in common" in error_of(path, "dog", "car", "cat")
    assert "not in it: ''" in error_of(write(tmp_path, "tree.json", '["cat"]'), "cat", "")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("tree.json", "", "empty"),
        ("tree.json", "{}", "empty"),
        ("tree.csv", "child,parent\n", "empty"),
        ("data.noun", "  1 a licence\n", "empty"),
        ("tree.json", '{"pet": ["cat"', "not valid JSON"),
        ("tree.json", "[" * 100_000, "not valid JSON"),
        ("tree.json", '{"pet": "cat"}', "'cat' below 'pet'"),
        ("tree.json", "3", "3 at the root"),
        ("tree.json", '{"pet": ["cat", 3]}', "3 below 'pet' is not a name"),
        ("tree.json", '{"pet": ["cat", {"dog": []}]}', "below 'pet' is not a name"),
        ("tree.json", '{"pet": ["cat"], " ": ["dog"]}', "' ' at the root is not a name"),
        ("tree.json", '{"pet": ["cat"], "pet": ["dog"]}', "'pet' is there more than once"),
        ("tree.json", '{"pet": {"cat": ["pet"]}}', "'pet' is there more than once"),
        ("tree.csv", "", "no column child or parent, it has nothing"),
        ("tree.csv", "child,above\ncat,pet\n", "no column parent, it has child, above"),
        ("tree.csv", "child,parent\ncat,pet\n,pet\n", "line 3 names no child"),
        ("tree.csv", "child,parent,name\ncat,pet,cat, tabby\n", "line 2 has more values"),
        ("tree.csv", "child,parent\na,b\nb,c\nc,a\n", "a cycle"),
        ("tree.csv", "child,parent\ncat,cat\n", "'cat' > 'cat'"),
        ("tree.txt", "cat", "a taxonomy is a .json or .csv"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, content, expected):
    assert expected in error_of(write(tmp_path, name, content), "cat")


def test_files_that_cannot_be_read(tmp_path):
    assert "no such file" in error_of(tmp_path / "tree.csv", "cat")
    (tmp_path / "data.noun").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in error_of(tmp_path / "data.noun", "cat")


@settings(deadline=None, max_examples=40)
@given(parents=TREE, temperature=st.floats(0.05, 20))
def test_labels_are_normalised_exponentials_and_their_temperature_is_found_again(
    parents, temperature, tmp_path_factory
):
    rows = [f"{child},{parent}" for child, parent in enumerate(parents, start=1)]
    distance = read_taxonomy(
        csv_of(tmp_path_factory.mktemp("t"), *rows), [str(node) for node in range(len(parents) + 1)]
    )
    labels = soft_labels(distance, temperature=temperature)
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    expected = [
        [np.exp(-d / temperature) / sum(np.exp(-e / temperature) for e in row) for d in row] for row in distance
    ]
    np.testing.assert_allclose(labels, expected, rtol=1e-6, atol=1e-30)
    mass = float(np.mean(np.diagonal(expected)))
    if mass < 0.999999:  # so near to 1, many temperatures give the same float
        assert temperature_of(distance, mass) == pytest.approx(temperature, rel=1e-6)


def test_a_tree_of_one_level_is_label_smoothing():
    distance = 2 * (1 - np.eye(5, dtype=np.int64))
    temperature = temperature_of(distance, 0.92)
    assert temperature == pytest.approx(2 / np.log(0.92 * 4 / 0.08))
    np.testing.assert_allclose(soft_labels(distance, temperature=temperature), 0.9 * np.eye(5) + 0.1 / 5, atol=1e-7)


def test_the_coldest_labels_are_hard_and_the_hottest_are_even():
    distance = read_taxonomy(TREES / "cifar10.json", CIFAR10)
    np.testing.assert_array_equal(soft_labels(distance, temperature=1e-320), np.eye(10))
    np.testing.assert_allclose(soft_labels(distance, temperature=1e9), 0.1, atol=1e-7)
    for mass in (0.1 + 1e-9, 1 - 1e-15):
        reached = soft_labels(distance, temperature=temperature_of(distance, mass)).diagonal().mean()
        assert reached == pytest.approx(mass, abs=1e-6)


@pytest.mark.parametrize("mass", [-0.1, 0.1, 1.0, float("nan")])
def test_a_mass_that_no_temperature_gives_is_refused(mass):
    distance = read_taxonomy(TREES / "cifar10.json", CIFAR10)
    with pytest.raises(ConfigError, match=r"with 10 classes it is above 0\.1 and below 1"):
        temperature_of(distance, mass)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_must_be_above_zero(temperature):
    with pytest.raises(ConfigError, match="temperature"):
        soft_labels(1 - np.eye(2, dtype=np.int64), temperature=temperature)


@pytest.mark.parametrize(
    "distance",
    [np.zeros((2, 2), int), np.ones((2, 2), int), np.zeros((0, 0), int), np.ones((2, 3), int), 1.0 - np.eye(2)],
)
def test_distances_that_are_none(distance):
    for use in (lambda: soft_labels(distance, temperature=1.0), lambda: temperature_of(distance, 0.9)):
        with pytest.raises(DataError, match="distances must be"):
            use()


def test_the_tree_of_cifar10():
    distance = read_taxonomy(TREES / "cifar10.json", CIFAR10)
    cat = dict(zip(CIFAR10, distance[CIFAR10.index("cat")].tolist(), strict=True))
    assert cat["dog"] == 2 and cat["frog"] == 3 and cat["ship"] == 5 and cat["truck"] == 6


@pytest.mark.realdata
def test_the_tree_of_tiny_imagenet_knows_its_classes_by_name_and_by_wnid(shared_data):
    with np.load(shared_data / "tiny_imagenet32_100.npz") as file:
        names, wnids = file["name"].tolist(), file["wnid"].tolist()
    tree = TREES / "tiny_imagenet_100.csv"
    distance = read_taxonomy(tree, names)
    np.testing.assert_array_equal(distance, read_taxonomy(tree, wnids))
    place = {name.split(",")[0]: row for row, name in enumerate(names)}
    assert distance[place["Labrador retriever"], place["golden retriever"]] == 2
    assert distance[place["Egyptian cat"], place["tabby"]] == 2
    assert distance[place["Egyptian cat"], place["teapot"]] > 10
