"""Curves of many networks in one run of an experiment tracker, each over its own epochs.

A run trains networks one after the other, so steps go back to one with every network. Trackers that demand rising
steps would drop what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NESTED = "labelwise_nested"
"""Attribute of a tracker: the ids of its runs inside the run, by network."""


def log_epoch(trackers: Sequence[Any], network: str, record: dict[str, Any]) -> None:
    """Send one epoch of one network to every tracker; of several processes, the main one calls it.

    MLflow gets a run for each network, inside the run of the chain. wandb gets ``NETWORK/epoch`` as the axis of
    ``NETWORK/*``. TensorBoard and Trackio keep the steps of every curve apart by themselves.

    Parameters
    ----------
    trackers : of accelerate, started
    network : such as ``seed-0/generation-2``
    record : ``{"epoch": 3, "lr": 0.1, "train": {"ce": 1.2}, ...}``, as in ``metrics.jsonl``
    """
    epoch, values = int(record["epoch"]), flat(record)
    named = {f"{network}/{key}": value for key, value in values.items()}
    for tracker in trackers:
        if tracker.name == "mlflow":
            _to_mlflow(tracker, network, values, epoch)
        elif tracker.name == "wandb":
            tracker.tracker.define_metric(f"{network}/*", step_metric=f"{network}/epoch")
            tracker.log({**named, f"{network}/epoch": epoch})
        else:
            tracker.log(named, step=epoch)


def finish(trackers: Sequence[Any]) -> None:
    """End the run of every tracker, and the runs inside it."""
    for tracker in trackers:
        for run in getattr(tracker, NESTED, {}).values():
            from mlflow import MlflowClient

            MlflowClient().set_terminated(run)
        tracker.finish()


def flat(record: dict[str, Any]) -> dict[str, float]:
    """``{"epoch": 1, "lr": 0.1, "train": {"ce": 1}}`` to ``{"lr": 0.1, "train/ce": 1}``, numbers alone."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        found |= (
            {f"{key}/{name}": number for name, number in value.items()} if isinstance(value, dict) else {key: value}
        )
    return {key: value for key, value in found.items() if key != "epoch" and isinstance(value, int | float)}


def _to_mlflow(tracker: Any, network: str, values: dict[str, float], epoch: int) -> None:
    from mlflow import MlflowClient

    client, parent = MlflowClient(), tracker.tracker.info
    runs = vars(tracker).setdefault(NESTED, {})
    if network not in runs:
        tags = {"mlflow.parentRunId": parent.run_id, "mlflow.runName": network}
        runs[network] = client.create_run(parent.experiment_id, tags=tags).info.run_id
    for key, value in values.items():
        client.log_metric(runs[network], key, value, step=epoch)
