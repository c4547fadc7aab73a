"""Category-wise fine-tuning beside its authors' library, mlcpl: what it gains, how long it takes, what it needs.

    python benchmarks/cft.py quality --peer-python PEER/bin/python          # also --light, --swap
    python benchmarks/cft.py rules                                         # which head a category should adopt
    python benchmarks/cft.py speed --peer-python PEER/bin/python
    python benchmarks/cft.py contaminated                                  # spoiled rows and columns
    python benchmarks/cft.py load --peer-python PEER/bin/python            # COCO's shape; also --scaling, --open-images

PEER is the environment of benchmarks/peers/README.md; without it the rows of mlcpl are left out. libauc has one of its
own: `quality --peer-python PEER/bin/python --methods "auto,libauc auc,libauc ap"`, same --cache. `load` makes its
data in a temporary folder, the others read ucm_features_lite0.npz from the folder LABELWISE_DATA (or ../shared/data).
Finished cells are kept as small JSONs in --cache and are taken up again as long as settings and code are the same; a
cell that was timed beside other work stays, so delete the folder before measuring time.

- quality: base head trained on unknown labels as negatives (logistic, full dimension, float64 L-BFGS, one decay
  chosen on select); AP by scikit-learn on float64 logits. Overstatement: gain on select minus gain on test. --swap
  measures also with the two in exchanged roles, so that a difference in difficulty between them cancels.
- rules: the candidates of auto, adopted by four rules, both directions averaged; --data cifar is the second data set.
- contaminated: auto where rows or one column of fit and select are spoiled; test stays clean.
- speed: seconds of each library's own call on the same problem, one after the other in the same run.
- load: each run through the command's own code in a fresh process; memory is sampled there, mapped files apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cft_common import OURS, PEERS, use_threads
from cft_contaminated import contaminated
from cft_load import SLOW, load, work
from cft_quality import SCRATCH, quality
from cft_rules import rules
from cft_speed import speed


def integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def seeded() -> argparse.ArgumentParser:
    """Options of commands over problems; one parser each, since defaults belong to the option, not to the command."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--shares", type=integers, help="percent of the labels that are known")
    parser.add_argument("--seeds", type=integers, help="of the masks")
    return parser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--cache", type=Path, default=Path("benchmark-cft-cache"), help="folder of finished cells")
    common.add_argument("--out", type=Path, help="default: benchmark-cft-COMMAND.json")
    common.add_argument("--threads", type=int, help="default: PyTorch's")
    common.add_argument("--peer-python", type=Path, help="interpreter of the peer's environment")
    each = commands.add_parser("quality", parents=[common, seeded()], help="test AP of all methods")
    each.set_defaults(run=quality, name="quality", shares=[10, 30, 50, 90], seeds=[0, 1, 2, 3, 4])
    every = [*OURS, *SCRATCH, *PEERS]
    each.add_argument("--methods", type=lambda text: text.split(","), default=every[:-2], help=f"of {', '.join(every)}")
    each.add_argument("--peer-results", type=Path, help="folder of the worker's outputs, METHOD-pSHARE-sSEED.npz")
    each.add_argument("--light", action="store_true", help="an overfitted base: the lightest decay")
    each.add_argument("--swap", action="store_true", help="also with select and test in exchanged roles")

    each = commands.add_parser("rules", parents=[common, seeded()], help="adoption rules")
    each.set_defaults(run=rules, name="rules", shares=[10, 30, 50, 90], seeds=[0, 1, 2, 3, 4])
    each.add_argument("--data", choices=["ucm", "cifar"], default="ucm", help="UC Merced, or CIFAR-10 as 17 categories")
    each.add_argument("--light", action="store_true", help="an overfitted base: the lightest decay")

    each = commands.add_parser("contaminated", parents=[common, seeded()], help="spoiled rows and columns")
    each.set_defaults(run=contaminated, name="contaminated", shares=[10, 50], seeds=[0, 1, 2])

    each = commands.add_parser("speed", parents=[common, seeded()], help="seconds beside mlcpl")
    each.set_defaults(run=speed, name="speed", shares=[10, 30, 50], seeds=[0, 1, 2])
    each.add_argument("--repeats", type=int, default=5, help="of ours, after a warm-up")
    each.add_argument("--ga-categories", type=int, default=3, help="mlcpl's GA runs on so many, the rest is projected")

    each = commands.add_parser("load", parents=[common], help="seconds and memory at scale")
    each.set_defaults(run=load, name="load")
    each.add_argument("--rows", type=int, default=82_081)
    each.add_argument("--categories", type=int, default=80)
    each.add_argument("--width", type=int, default=2_048)
    each.add_argument("--repeats", type=int, default=3)
    each.add_argument("--few", type=int, default=2, help="categories of the slow methods, the rest is projected")
    each.add_argument("--peer-steps", type=int, help="stop mlcpl after so many steps and extrapolate to its least")
    each.add_argument("--slow", type=lambda text: text.split(","), default=[*SLOW], help=f"of {', '.join(SLOW)}")
    each.add_argument("--device", default="cpu", help="of fast, auto and the slow methods: cpu or cuda")
    each.add_argument("--scaling", action="store_true", help="rows, categories and width halved and doubled")
    each.add_argument("--open-images", action="store_true", help="5,000 categories, few labels known")
    each.add_argument("--open-rows", type=int, default=200_000)
    each.add_argument("--open-categories", type=int, default=5_000)
    each.add_argument("--open-width", type=int, default=512)

    each = commands.add_parser("work", help="one run of `load`, in the process that is measured")
    each.set_defaults(run=work, name="work", out=None, threads=None)
    each.add_argument("settings", help="JSON")

    options = parser.parse_args()
    options.out = options.out or Path(f"benchmark-cft-{options.name}.json")
    use_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()
