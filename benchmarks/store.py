"""Stores of crop labels: kills, bytes a crop, and random access.

    python benchmarks/store.py bytes --out build/store-bytes.json
    python benchmarks/store.py read --records 10000000 --folder build/store-read
    python benchmarks/store.py kill --ways one,ranks --kills 50 --folder build/store-kill
    RAY/bin/python benchmarks/store.py kill --ways torchrun,ray --kills 5 --folder build/store-kill

`bytes` counts the records of all layouts. `read` writes made-up labels, then reads batches of 1,024 random crops on one
core. `kill` labels digits, and kills the command with SIGKILL at a random moment, again and again until it gets
through; the store must then be that of an undisturbed run, byte for byte, with every crop once. RAY is an environment
with labelwise and Ray.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.config import ModelConfig, ViewConfig
from labelwise.data.views import Boxes
from labelwise.models import checkpoint, zoo
from labelwise.models.classifier import InputSpec
from labelwise.runs import RESULTS, write_json
from labelwise.store.check import damages
from labelwise.store.header import FORMAT, HEADER, Refined, StoreHeader, crop_views, sample_hash
from labelwise.store.layout import CropLabels, Layout, Precision
from labelwise.store.reader import Store
from labelwise.store.shard import PROBE, PROBES, ShardContent, shard_name, write_shard

BATCH, CLASSES = 1024, 1000
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["labelwise.cli", "labelwise.labelling.run", "sklearn.datasets"])
PRECISIONS: tuple[Precision, ...] = ("fp16", "uint8")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("bytes", "read", "kill"))
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    parser.add_argument("--folder", type=Path, default=Path("build/store"), help="where stores are written")
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="read: how long")
    parser.add_argument("--kills", type=int, default=25, help="kill: kills of each way")
    parser.add_argument("--ways", default="one,ranks", help="kill: one, ranks (two), torchrun, ray")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = {"bytes": part_bytes, "read": part_read, "kill": part_kill}[options.part](options)
    print(json.dumps(found, indent=1))
    if options.out is not None:
        write_json(options.out, found)


def part_bytes(options: argparse.Namespace) -> dict[str, Any]:
    """Bytes of a record of 1,000 classes, by precision, k and boxes."""
    return {
        f"{precision}, k {'all' if k == CLASSES else k}, {'with' if boxes else 'without'} box": Layout(
            CLASSES, k, boxes, precision
        ).bytes_per_crop()
        for precision in PRECISIONS
        for boxes in (True, False)
        for k in (1, 3, 10, CLASSES)
    }


def part_read(options: argparse.Namespace) -> dict[str, Any]:
    """Random batches of a store of made-up labels; memory as Linux counts it, in MB."""
    if not (options.folder / HEADER).exists():
        _write(options.folder, options.records, options.seed)
    torch.set_num_threads(1)
    store, rng, views = Store(options.folder), np.random.default_rng(options.seed), 10
    batches = [rng.integers(0, len(store) * views, BATCH) for _ in range(2000)]
    for crops in batches[:50]:
        store.read(crops // views, crops % views)
    memory, rates, started, done = [_memory()], [], time.perf_counter(), 0
    while time.perf_counter() - started < options.seconds:
        lap = time.process_time()
        for crops in batches:
            store.read(crops // views, crops % views)
        rates.append(len(batches) * BATCH / (time.process_time() - lap))
        done += len(batches) * BATCH
        memory.append(_memory())
    size = sum(shard.path.stat().st_size for shard in store.shards)
    return {
        "records": len(store) * views,
        "store_mb": size / 1e6,
        "shards": len(store.shards),
        "read": done,
        "million_records_per_cpu_second": {"median": np.median(rates) / 1e6, "least": min(rates) / 1e6},
        "million_records_per_second": done / (time.perf_counter() - started) / 1e6,
        "memory_mb": {"first": memory[0], "last": memory[-1]},
    }


def part_kill(options: argparse.Namespace) -> dict[str, Any]:
    """Every way of running the same command, killed at random moments until it has been killed often enough."""
    options.folder.mkdir(parents=True, exist_ok=True)
    rng, network = random.Random(options.seed), options.folder / "network"
    torch.manual_seed(0)
    spec = InputSpec("image", 8, 1, (0.3,), (0.3,))
    checkpoint.save(network, zoo.build(ModelConfig(name="small-wide"), tuple("0123456789"), spec), {})
    words = ["label", str(network), "--data", "digits", "--views", "24", "--shard-samples", "16", "--quiet"]
    found = dict[str, Any]()
    for way in options.ways.split(","):
        whole = options.folder / f"{way}-undisturbed"
        shutil.rmtree(whole, ignore_errors=True)
        _run(way, [*words, "--out", str(whole)], None, rng)  # the first one also starts what others are forked from
        shutil.rmtree(whole)
        started = time.monotonic()
        _run(way, [*words, "--out", str(whole)], None, rng)
        seconds, wanted = time.monotonic() - started, _shards(whole)
        kills, rounds, differ, before = 0, 0, 0, list[int]()
        while kills < options.kills:
            out = options.folder / way
            shutil.rmtree(out, ignore_errors=True)
            rounds += 1
            while not (out / RESULTS).exists():
                now = _run(way, [*words, "--out", str(out)], rng.uniform(0, seconds), rng)
                if now:
                    kills += now
                    before.append(len(_shards(out)))
                    print(f"{way}: {kills} kills, {before[-1]} shards are there", file=sys.stderr, flush=True)
            store = Store(out)
            ids = [name for shard in store.shards for name in shard.ids().tolist()]
            same = _shards(out) == wanted and not damages(out) and len(set(ids)) == len(ids) == len(store)
            differ += not same or bool(list(out.glob(".*.tmp")))
        found[way] = {"kills": kills, "stores": rounds, "differ": differ, "seconds": seconds, "shards": len(wanted)}
        found[way]["finished_shards_at_a_kill"] = {
            "least": min(before),
            "median": np.median(before),
            "most": max(before),
        }
    return found


def _run(way: str, words: list[str], limit: float | None, rng: random.Random) -> int:
    """Run the command; after ``limit`` seconds a process of it is killed, of Ray one after the other. Returns how many
    were."""
    if way in ("one", "ranks"):
        ranks = 1 if way == "one" else 2
        started = [FORKS.Process(target=_command, args=(words, rank, ranks)) for rank in range(ranks)]
        for process in started:
            process.start()
        victim = rng.choice(started)
        victim.join(limit)
        killed = victim.is_alive()
        victim.kill()
        for process in started:
            process.join()
        return int(killed)
    command = [sys.executable, "-m", "labelwise", *words, *(["--engine", "ray"] if way == "ray" else [])]
    if way == "torchrun":
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *command[1:]]
    process, kills = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), 0
    while True:
        try:
            process.wait(limit)
            return kills
        except subprocess.TimeoutExpired:
            victims = _descendants(process.pid, "ray::make_one" if way == "ray" else "labelwise")
            if victims:
                os.kill(rng.choice(victims), signal.SIGKILL)
                kills += 1
        # torchrun ends the other rank, Ray gives the shard to another process
        limit = rng.uniform(0, 8) if way == "ray" else None


def _command(words: list[str], rank: int, ranks: int) -> None:
    """A command in a process that has imported everything; ranks as torchrun starts them."""
    from labelwise import cli

    if ranks > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks)}
    sys.argv = ["labelwise", *words]
    cli.main()


def _descendants(root: int, name: str) -> list[int]:
    """Processes below ``root`` whose command line has ``name`` in it."""
    parents, lines = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(path.name)] = (path / "cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            continue
    found, edge = set[int](), {root}
    while edge:
        edge = {pid for pid, parent in parents.items() if parent in edge}
        found |= edge
    return sorted(pid for pid in found if name in lines.get(pid, ""))


def _shards(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.glob("*.bin")}


def _memory() -> dict[str, float]:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(fields[key].split()[0]) / 1000 for key in ("RssAnon", "RssFile", "VmRSS")}


def _boxes(rng: np.random.Generator, count: int) -> Boxes:
    top, left, height, width = rng.integers(1, 400, (4, count)).astype(np.int32)
    return Boxes(top, left, height, width, rng.random(count) < 0.5)


def _write(folder: Path, records: int, seed: int) -> None:
    """A store of ten made-up classes of 1,000 for each of ten views."""
    rng, views = np.random.default_rng(seed), 10
    samples = -(-records // views)
    per_shard = -(-samples // 8)
    ids = np.array([f"train/{number:08d}.jpg" for number in range(samples)])
    header = StoreHeader(
        format=FORMAT,
        task="single-label",
        classes=tuple(map(str, range(CLASSES))),
        refineries=(Refined(name="made-up", weights_hash="0" * 16, input={}),),
        autocast="no",
        views=crop_views(ViewConfig()),
        channels=3,
        seed=seed,
        views_per_sample=views,
        k=10,
        boxes=True,
        precision="fp16",
        mass=None,
        samples=samples,
        sample_hash=sample_hash(ids.tolist()),
        samples_per_shard=per_shard,
        shards=-(-samples // per_shard),
        libraries={},
    )
    write_json(folder / HEADER, header.to_dict())
    for number in range(header.shards):
        own = ids[number * per_shard : (number + 1) * per_shard]
        labels = CropLabels(
            rng.integers(0, CLASSES, (len(own) * views, 10)),
            -np.sort(rng.exponential(3, (len(own) * views, 10)).astype(np.float32), axis=1),
        )
        content = header.layout.encode(_boxes(rng, len(labels)), labels)
        write_shard(
            folder / shard_name(number), header.hash, views, ShardContent(own, *content, np.zeros(PROBES, PROBE))
        )


if __name__ == "__main__":
    main()
