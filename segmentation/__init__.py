"""Find and measure particles, on reconstructions or straight from sparse scans; the whole chain and its command."""

from segmentation.instances import Instances
from segmentation.learned import load_segmenter
from segmentation.measure import measure, summary
from segmentation.methods import Segmenter, segment, segmenters
from segmentation.pipeline import Result, adaptive_measure, run, save
from segmentation.population import Population, population
from segmentation.scores import average_precision, score
from segmentation.streaming import StreamedFrame, stream
from segmentation.threshold import threshold_segment
from simulate.errors import InputError

__all__ = [
    "InputError",
    "Instances",
    "Population",
    "Result",
    "Segmenter",
    "StreamedFrame",
    "adaptive_measure",
    "average_precision",
    "load_segmenter",
    "measure",
    "population",
    "run",
    "save",
    "score",
    "segment",
    "segmenters",
    "stream",
    "summary",
    "threshold_segment",
]
