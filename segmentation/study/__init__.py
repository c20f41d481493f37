"""The study: schemes, ratios, doses and methods swept over labelled frames, a row of figures for every case."""

from segmentation.study.cases import Case, ScanPlan, expand, jobs_of
from segmentation.study.config import FrameChoice, ScanChoice, StudyConfig, load_study, preset
from segmentation.study.evaluate import run_case, run_job
from segmentation.study.executors import Executor, inline, local_processes, on_dask
from segmentation.study.scoring import pooled_coco_ap
from segmentation.study.store import read_rows
from segmentation.study.sweep import cell_means, sweep

__all__ = [
    "Case",
    "Executor",
    "FrameChoice",
    "ScanChoice",
    "ScanPlan",
    "StudyConfig",
    "cell_means",
    "expand",
    "inline",
    "jobs_of",
    "load_study",
    "local_processes",
    "on_dask",
    "pooled_coco_ap",
    "preset",
    "read_rows",
    "run_case",
    "run_job",
    "sweep",
]
