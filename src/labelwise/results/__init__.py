"""Every kind of ``results.json`` as a type, used by whoever writes one and by whoever reads one."""

from labelwise.results.audit import AuditResults
from labelwise.results.cft import CftResults, EnsembleResults
from labelwise.results.evaluate import EvaluateResults, MultiLabelEvaluation, SingleLabelEvaluation
from labelwise.results.experiment import ExperimentResults
from labelwise.results.features import FeaturesResults
from labelwise.results.files import (
    Results,
    RunFolder,
    check_scores_file,
    open_run,
    parse_results,
    read_results,
    read_results_as,
    read_row,
)
from labelwise.results.label import LabelResults
from labelwise.results.record import Record, SeedStat, Splits, Stat, best_on_select
from labelwise.results.refine import METRICS, RefineResults, Row, Summary, summarise

__all__ = [
    "METRICS",
    "AuditResults",
    "CftResults",
    "EnsembleResults",
    "EvaluateResults",
    "ExperimentResults",
    "FeaturesResults",
    "LabelResults",
    "MultiLabelEvaluation",
    "Record",
    "RefineResults",
    "Results",
    "Row",
    "RunFolder",
    "SeedStat",
    "SingleLabelEvaluation",
    "Splits",
    "Stat",
    "Summary",
    "best_on_select",
    "check_scores_file",
    "open_run",
    "parse_results",
    "read_results",
    "read_results_as",
    "read_row",
    "summarise",
]
