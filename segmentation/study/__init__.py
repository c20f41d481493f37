"""The study: schemes, ratios, doses and methods swept over labelled frames, a row of figures for every case."""

from segmentation.study.cases import Case, ScanPlan, expand, jobs_of
from segmentation.study.config import FrameChoice, ScanChoice, StudyConfig, load_study, preset
from segmentation.study.curves import bands, equal_cost, falls
from segmentation.study.evaluate import run_case, run_example, run_job
from segmentation.study.executors import Executor, inline, local_processes, on_dask
from segmentation.study.like import scene_like
from segmentation.study.plan_output import describe_plan, write_plan
from segmentation.study.planner import plan_from_rows
from segmentation.study.planning import plan
from segmentation.study.plans import Choice, Expectation, Plan, Wish
from segmentation.study.report import write_report
from segmentation.study.scoring import pooled_coco_ap
from segmentation.study.smallest import smallest_found
from segmentation.study.store import read_rows
from segmentation.study.sweep import cell_means, sweep
from segmentation.study.targets import METRICS, Target

__all__ = [
    "METRICS",
    "Case",
    "Choice",
    "Executor",
    "Expectation",
    "FrameChoice",
    "Plan",
    "ScanChoice",
    "ScanPlan",
    "StudyConfig",
    "Target",
    "Wish",
    "bands",
    "cell_means",
    "describe_plan",
    "equal_cost",
    "expand",
    "falls",
    "inline",
    "jobs_of",
    "load_study",
    "local_processes",
    "on_dask",
    "plan",
    "plan_from_rows",
    "pooled_coco_ap",
    "preset",
    "read_rows",
    "run_case",
    "run_example",
    "run_job",
    "scene_like",
    "smallest_found",
    "sweep",
    "write_plan",
    "write_report",
]
