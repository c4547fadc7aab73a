"""Curves of networks in experiment trackers: each network is a run of its own, and a chain holds them together.

So the curves of all networks have the same names and lie over each other, each from its first epoch on. What holds a
chain together: folders in TensorBoard, a group in wandb and Trackio, and in MLflow a run that the others are inside of.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelwise.errors import RunError

TENSORBOARD = "tensorboard"
"""Folder of a run that TensorBoard reads."""

LONGEST = 128
"""Characters of a group's name in wandb."""


@dataclass(frozen=True)
class Chain:
    """The networks of one run folder.

    Attributes
    ----------
    project : the recipe's name
    folder : the run folder; as it was given, it is the name of the chain
    settings : what the recipe says, by dotted key
    """

    project: str
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.as_posix()[-LONGEST:]

    def settings_of(self, network: str) -> dict[str, Any]:
        """The settings of ``seed-0/generation-2``, so that a tracker can group all seeds of a generation."""
        seed, _, name = network.rpartition("/")
        return {**self.settings, "chain": self.name, "network": name, "seed": seed.removeprefix("seed-")}


class Tracker(ABC):
    """One tracker; networks come one after the other."""

    @abstractmethod
    def begin(self, chain: Chain, network: str) -> None:
        """Start the run of a network."""

    @abstractmethod
    def log(self, values: dict[str, float], epoch: int) -> None:
        """Send one epoch of the network."""

    @abstractmethod
    def end(self, success: bool) -> None:
        """End the run of the network."""

    def close(self, success: bool) -> None:  # noqa: B027
        """End what holds the chain together, where that is a run, too."""


class TensorBoard(Tracker):
    """A folder for each network, so that all are drawn in the same charts."""

    def begin(self, chain: Chain, network: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(chain.folder / TENSORBOARD / network))

    def log(self, values: dict[str, float], epoch: int) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, epoch)
        self.writer.flush()

    def end(self, success: bool) -> None:
        self.writer.close()


class Wandb(Tracker):
    """A group for each chain; the project is that of ``WANDB_PROJECT`` if it is set."""

    def begin(self, chain: Chain, network: str) -> None:
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", chain.project),
            group=chain.name,
            name=network,
            job_type=network.rpartition("/")[2],
            config=chain.settings_of(network),
            settings={"quiet": True},
        )

    def log(self, values: dict[str, float], epoch: int) -> None:
        self.run.log(values, step=epoch)

    def end(self, success: bool) -> None:
        self.run.finish(exit_code=0 if success else 1)


class Trackio(Tracker):
    """A group for each chain, whose name begins those of its runs: a project has one list of runs."""

    def begin(self, chain: Chain, network: str) -> None:
        import trackio

        name, settings = f"{chain.name}/{network}", chain.settings_of(network)
        self.run = trackio.init(project=chain.project, name=name, group=chain.name, config=settings)

    def log(self, values: dict[str, float], epoch: int) -> None:
        self.run.log(values, step=epoch)

    def end(self, success: bool) -> None:
        import trackio

        trackio.finish()


class MLflow(Tracker):
    """A run for each chain, and one inside of it for each network; ``MLFLOW_EXPERIMENT_NAME`` comes before ours."""

    def __init__(self) -> None:
        self.parent: Any = None

    def begin(self, chain: Chain, network: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient()
        if self.parent is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", chain.project)
            found = self.client.get_experiment_by_name(name)
            experiment = self.client.create_experiment(name) if found is None else found.experiment_id
            self.parent = self.client.create_run(experiment, run_name=chain.name).info
        inside = {"mlflow.parentRunId": self.parent.run_id}
        self.run = self.client.create_run(self.parent.experiment_id, run_name=network, tags=inside).info.run_id
        for key, value in chain.settings_of(network).items():
            self.client.log_param(self.run, key, value)

    def log(self, values: dict[str, float], epoch: int) -> None:
        for key, value in values.items():
            self.client.log_metric(self.run, key, value, step=epoch)

    def end(self, success: bool) -> None:
        self.client.set_terminated(self.run, "FINISHED" if success else "FAILED")

    def close(self, success: bool) -> None:
        self.client.set_terminated(self.parent.run_id, "FINISHED" if success else "FAILED")


KINDS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": Wandb, "trackio": Trackio}


class Curves:
    """The trackers of a run. A context: what is open when it ends is closed, as failed after an exception.

    A tracker that cannot begin is an error before anything is trained. One that fails later is left out from then on,
    with a word: it stops no training.

    Parameters
    ----------
    names : of trackers
    chain : what is tracked; None where nothing is
    """

    def __init__(self, names: Iterable[str] = (), chain: Chain | None = None) -> None:
        self._trackers: dict[str, Tracker] = {} if chain is None else {name: KINDS[name]() for name in names}
        self._chain = chain
        self._network: str | None = None

    def begin(self, network: str, earlier: Iterable[dict[str, Any]] = ()) -> None:
        """Start the runs of a network.

        Parameters
        ----------
        network : such as ``seed-0/generation-2``
        earlier : its epochs before the process was killed, as in ``metrics.jsonl``

        Raises
        ------
        RunError
            If a tracker cannot begin the first one.
        """
        if (chain := self._chain) is None:
            return
        if self._network is not None:
            self._each(lambda tracker: tracker.end(True))
        self._each(lambda tracker: tracker.begin(chain, network))
        self._network = network
        for record in earlier:
            self.log(record)

    def log(self, record: dict[str, Any]) -> None:
        """Send one epoch: ``{"epoch": 3, "lr": 0.1, "train": {"ce": 1.2}, ...}``, as in ``metrics.jsonl``."""
        self._each(lambda tracker: tracker.log(flat(record), int(record["epoch"])))

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._network is not None:
            self._each(lambda tracker: tracker.end(kind is None))
            self._each(lambda tracker: tracker.close(kind is None))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                act(tracker)
            except Exception as error:
                why = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
                if self._network is None:
                    raise RunError(f"train.trackers: {name} cannot begin a run: {why}") from error
                del self._trackers[name]
                print(f"{name} fails and gets no more curves: {why}", file=sys.stderr, flush=True)


def flat(record: dict[str, Any]) -> dict[str, float]:
    """``{"epoch": 1, "lr": 0.1, "train": {"ce": 1}}`` to ``{"lr": 0.1, "train/ce": 1}``, numbers alone."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        found |= (
            {f"{key}/{name}": number for name, number in value.items()} if isinstance(value, dict) else {key: value}
        )
    return {key: value for key, value in found.items() if key != "epoch" and isinstance(value, int | float)}


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"train": {"lr": 0.1}}`` to ``{"train.lr": 0.1}``; lists become text."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, int | float | str | None) else str(value)
    return found
