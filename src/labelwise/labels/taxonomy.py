"""Soft labels from a tree of the classes: a class gives some of its mass to the classes that are near in the tree.

The paper on Label Refinery compares with such labels, which no network makes, but its formula is not known to us. Here
the label of class k is proportional to exp(-d(k, c) / temperature), where d counts the edges from k up to the nearest
ancestor in common with c and down to c: the distance that WordNet's path similarity is made of. A class is an ancestor
of itself, so one class may lie above another. In a tree this is the shortest path between the two. Where a node has
several parents it may be longer than that: two classes are not near for having a descendant in common.

============  ========================================================================================================
``.json``     ``{"animal": {"pet": ["cat", "dog"], "frog": []}, "vehicle": ["car", "ship"]}``: every name once, above
              the outermost ones is a root without a name
``.csv``      columns ``child``, ``parent``: one edge a row, several parents allowed, none (blank) above a root; and, if
              wanted, ``name``: what the data call the child, as a class need not be called like its node
``.noun``     the file ``data.noun`` of WordNet's database. Nodes are called by wnid, as n01443537, which are those of
              ImageNet in WordNet 3.0 alone; names are words of a synset, one or more: ``goldfish, Carassius auratus``
============  ========================================================================================================

A class is looked up as a node, then by a wnid that it begins with (``n01443537 goldfish``), then by name.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import ConfigError, DataError
from labelwise.textfile import NOT_JSON, read_text

_WNID = re.compile(r"(n\d{8})(?![0-9A-Za-z])")
_HYPERNYM = ("@", "@i")
_BISECTIONS = 200


@dataclass
class _Graph:
    """Every node's parents, and which nodes have a name; a root without a name is a parent but no node."""

    parents: dict[str, list[str]] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)


def read_taxonomy(file: Path, classes: Sequence[str]) -> NDArray[np.int64]:
    """Edges between every two classes in a tree.

    Parameters
    ----------
    file : .json, .csv or .noun, see above
    classes : K names, each a node of its own

    Returns
    -------
    (K, K) distances over the nearest common ancestor; symmetric, 0 on the diagonal alone

    Raises
    ------
    DataError
        If the file cannot be read, is empty or has a cycle; if a class is not there, is ambiguous, or is the same node
        as another one; if two classes have no ancestor in common.
    """
    readers = {".json": _read_json, ".csv": _read_csv, ".noun": _read_wordnet}
    if file.suffix not in readers:
        raise DataError(f"{file}: a taxonomy is a .json or .csv file or WordNet's data.noun")
    graph = readers[file.suffix](file)
    if not graph.parents:
        raise DataError(f"{file}: empty, it has no classes")
    return _distances(graph.parents, _find(graph, classes, file), classes, file)


def soft_labels(distance: NDArray[np.int64], *, temperature: float) -> NDArray[np.float32]:
    """Labels that fall off with the distance: row k is proportional to exp(-distance[k] / temperature).

    Parameters
    ----------
    distance : (K, K) of :func:`read_taxonomy`
    temperature : above 0; the higher, the more mass other classes get

    Returns
    -------
    (K, K) the label of every class, rows sum to 1

    Raises
    ------
    ConfigError
        For a temperature that is not above 0 and finite.
    DataError
        For distances of another shape or type, or that are not 0 on the diagonal and above 0 elsewhere.

    Examples
    --------
    >>> distance = np.array([[0, 2, 4], [2, 0, 4], [4, 4, 0]])  # cat, dog, car
    >>> soft_labels(distance, temperature=1.0).round(3)
    array([[0.867, 0.117, 0.016],
           [0.117, 0.867, 0.016],
           [0.018, 0.018, 0.965]], dtype=float32)
    """
    _check(distance)
    if not 0.0 < temperature < np.inf:
        raise ConfigError(f"taxonomy: temperature {temperature:g} is not above 0 and finite")
    with np.errstate(over="ignore"):  # at the coldest, a distance becomes infinite and its share 0
        share = np.exp(-distance / temperature)
    return (share / share.sum(axis=1, keepdims=True)).astype(np.float32)


def temperature_of(distance: NDArray[np.int64], mass: float) -> float:
    """The temperature at which a class keeps ``mass`` of its label, on average over the classes.

    So labels from a tree are compared with others of the same mean diagonal, such as the class means of a refinery.

    Parameters
    ----------
    distance : (K, K) of :func:`read_taxonomy`
    mass : above 1 / K, which even the highest temperature leaves, and below 1

    Returns
    -------
    the argument of :func:`soft_labels`

    Raises
    ------
    ConfigError
        For a mass that no temperature gives.
    DataError
        As :func:`soft_labels`.

    Examples
    --------
    >>> distance = np.array([[0, 2, 4], [2, 0, 4], [4, 4, 0]])
    >>> temperature = temperature_of(distance, mass=0.9)
    >>> round(float(soft_labels(distance, temperature=temperature).diagonal().mean()), 3)
    0.9
    """
    _check(distance)
    count = len(distance)
    if not 1 / count < mass < 1:
        raise ConfigError(
            f"taxonomy: mass {mass:g} is out of reach: with {count} classes it is above {1 / count:.3g} and below 1"
        )
    at_distance = np.stack([(distance == d).sum(axis=1) for d in range(distance.max() + 1)], axis=1)

    def diagonal(coldness: float) -> float:
        return float((1 / (at_distance @ np.exp(-coldness * np.arange(at_distance.shape[1])))).mean())

    # In the inverse temperature: there the mass rises from 1 / K at zero, and half a dozen doublings always suffice.
    low, high = 0.0, 1.0
    while diagonal(high) < mass:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if diagonal(middle) < mass else (low, middle)
    return 1 / high


def _check(distance: NDArray[np.int64]) -> None:
    if distance.ndim != 2 or len(set(distance.shape)) != 1 or not distance.size or distance.dtype.kind not in "iu":
        raise DataError(f"taxonomy: distances must be integers (K, K), found {distance.dtype} {distance.shape}")
    off_diagonal = distance[~np.eye(len(distance), dtype=bool)]
    if distance.diagonal().any() or (off_diagonal < 1).any():
        raise DataError("taxonomy: distances must be 0 on the diagonal and at least 1 elsewhere")


def _read_json(file: Path) -> _Graph:
    text = read_text(file)
    if not text.strip():
        raise DataError(f"{file}: empty, it has no classes")
    try:
        # Pairs, as a dictionary would hide a name that is there twice.
        tree = json.loads(text, object_pairs_hook=tuple)
    except NOT_JSON as error:
        raise DataError(f"{file}: not valid JSON ({error})") from None
    graph = _Graph()
    below: list[tuple[str, Any]] = [("", tree)]
    while below:
        parent, content = below.pop()
        place = f"below {parent!r}" if parent else "at the root"
        if not isinstance(content, tuple | list):
            raise DataError(f"{file}: {content!r} {place} is neither an object of nodes nor a list of names")
        for entry in content:
            name, inside = entry if isinstance(content, tuple) else (entry, ())
            if not isinstance(name, str) or not name.strip():
                raise DataError(f"{file}: {name!r} {place} is not a name (a list has names alone, an object has more)")
            if name in graph.parents:
                raise DataError(
                    f"{file}: {name!r} is there more than once; for several parents write a .csv of child, parent"
                )
            graph.parents[name] = [parent]
            below.append((name, inside))
    return graph


def _read_csv(file: Path) -> _Graph:
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), restval="")
    columns = reader.fieldnames or []
    if missing := [column for column in ("child", "parent") if column not in columns]:
        raise DataError(f"{file}: no column {' or '.join(missing)}, it has {', '.join(columns) or 'nothing'}")
    graph = _Graph()
    try:
        for row in reader:
            if None in row:
                raise DataError(f"{file}: line {reader.line_num} has more values than columns; quote names with commas")
            child, parent, name = (row.get(column, "").strip() for column in ("child", "parent", "name"))
            if not child:
                raise DataError(f"{file}: line {reader.line_num} names no child")
            above = graph.parents.setdefault(child, [])
            if parent and parent not in above:
                above.append(parent)
                graph.parents.setdefault(parent, [])
            if name:
                graph.names.setdefault(name, set()).add(child)
        TopologicalSorter(graph.parents).prepare()
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num} cannot be read ({error})") from None
    except CycleError as error:
        raise DataError(
            f"{file}: a cycle, each the parent of the next: {' > '.join(map(repr, error.args[1]))}"
        ) from None
    return graph


def _read_wordnet(file: Path) -> _Graph:
    graph = _Graph()
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if line.startswith("  "):  # the licence
            continue
        # offset, file number, n, words (hex), each word and its number, pointers, each of four fields
        fields = line.partition(" | ")[0].split()
        try:
            words = 4 + 2 * int(fields[3], 16)
            pointers = fields[words + 1 :]
            if fields[2] != "n" or len(pointers) != 4 * int(fields[words]):
                raise ValueError
        except (ValueError, IndexError):
            raise DataError(f"{file}: line {number} is not a noun entry of WordNet's database, or is damaged") from None
        node = f"n{fields[0]}"
        graph.parents[node] = [
            f"n{offset}" for kind, offset in zip(pointers[::4], pointers[1::4], strict=True) if kind in _HYPERNYM
        ]
        for word in fields[4:words:2]:
            graph.names.setdefault(word.replace("_", " "), set()).add(node)
    return graph


def _find(graph: _Graph, classes: Sequence[str], file: Path) -> list[str]:
    """The node of every class."""
    candidates = [_candidates(graph, name) for name in classes]
    if missing := [name for name, nodes in zip(classes, candidates, strict=True) if not nodes]:
        more = ", ..." if len(missing) > 3 else ""
        raise DataError(
            f"{file}: {len(missing)} of {len(classes)} classes are not in it: {', '.join(map(repr, missing[:3]))}{more}"
        )
    owner: dict[str, str] = {}
    for name, nodes in zip(classes, candidates, strict=True):
        if len(nodes) > 1:
            some = ", ".join([*sorted(nodes)[:4], *(["..."] if len(nodes) > 4 else [])])
            raise DataError(
                f"{file}: class {name!r} is the name of {len(nodes)} nodes ({some}): use a node as its name"
            )
        (node,) = nodes
        if node in owner:
            raise DataError(f"{file}: classes {owner[node]!r} and {name!r} are both {node!r}: each needs its own")
        owner[node] = name
    return list(owner)


def _candidates(graph: _Graph, name: str) -> set[str]:
    if name in graph.parents:
        return {name}
    if (wnid := _WNID.match(name)) and wnid[1] in graph.parents:
        return {wnid[1]}
    if name in graph.names:
        return graph.names[name]
    return set.intersection(*(graph.names.get(word.strip(), set()) for word in name.split(",")))


def _distances(
    parents: dict[str, list[str]], nodes: Sequence[str], classes: Sequence[str], file: Path
) -> NDArray[np.int64]:
    ancestors: dict[str, list[tuple[int, int]]] = {}
    for row, node in enumerate(nodes):
        for ancestor, edges in _edges_up(parents, node).items():
            ancestors.setdefault(ancestor, []).append((row, edges))
    unreached = np.iinfo(np.int64).max
    distance = np.full((len(nodes), len(nodes)), unreached)
    # By ancestor: most of them lie above few classes, which spares a search for every pair.
    for members in ancestors.values():
        rows, edges = np.array(members).T
        block = np.ix_(rows, rows)
        distance[block] = np.minimum(distance[block], edges[:, None] + edges)
    if len(apart := np.argwhere(distance == unreached)):
        first, second = (classes[row] for row in apart[0])
        raise DataError(f"{file}: classes {first!r} and {second!r} have no ancestor in common: add one above both")
    return distance


def _edges_up(parents: dict[str, list[str]], node: str) -> dict[str, int]:
    """The node and all its ancestors, with the fewest edges up to each."""
    found, level, edges = {node: 0}, [node], 0
    while level:
        edges += 1
        level = [p for p in dict.fromkeys(p for child in level for p in parents.get(child, ())) if p not in found]
        found.update(dict.fromkeys(level, edges))
    return found
