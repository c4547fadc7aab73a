"""labelwise: better image classifiers by working on their labels.

The names in ``__all__`` are the public interface. Each is imported from its own module when it is first used, so
``import labelwise`` itself loads neither torch nor NumPy.

Examples
--------
>>> import labelwise
>>> labelwise.load_recipe(None, ["train.epochs=3"]).train.epochs
3
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwise.audit.run import run_audit
    from labelwise.cft.finetuner import CategoryWiseFineTuner
    from labelwise.config import AuditConfig, Recipe, load_recipe
    from labelwise.errors import LabelwiseError
    from labelwise.features.extract import extract_features
    from labelwise.features.file import read_features
    from labelwise.inference.evaluate import evaluate
    from labelwise.inference.predict import predict
    from labelwise.labels.table import LabelTable
    from labelwise.metrics.ranking import average_precision, roc_auc
    from labelwise.refinery.chain import refine, train
    from labelwise.refinery.labellers import RefineryLabels
    from labelwise.results import open_run

__version__ = "0.1.0"

__all__ = [
    "AuditConfig",
    "CategoryWiseFineTuner",
    "LabelTable",
    "LabelwiseError",
    "Recipe",
    "RefineryLabels",
    "average_precision",
    "evaluate",
    "extract_features",
    "load_recipe",
    "open_run",
    "predict",
    "read_features",
    "refine",
    "roc_auc",
    "run_audit",
    "train",
]

_MODULES = {
    "AuditConfig": "labelwise.config",
    "CategoryWiseFineTuner": "labelwise.cft.finetuner",
    "LabelTable": "labelwise.labels.table",
    "LabelwiseError": "labelwise.errors",
    "Recipe": "labelwise.config",
    "RefineryLabels": "labelwise.refinery.labellers",
    "average_precision": "labelwise.metrics.ranking",
    "evaluate": "labelwise.inference.evaluate",
    "extract_features": "labelwise.features.extract",
    "load_recipe": "labelwise.config",
    "open_run": "labelwise.results",
    "predict": "labelwise.inference.predict",
    "read_features": "labelwise.features.file",
    "refine": "labelwise.refinery.chain",
    "roc_auc": "labelwise.metrics.ranking",
    "run_audit": "labelwise.audit.run",
    "train": "labelwise.refinery.chain",
}
"""The module that each public name is imported from; type checkers read the imports above."""


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'labelwise' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
