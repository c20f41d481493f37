"""Find and measure particles, on reconstructions or straight from sparse scans; the whole chain and its command."""

from segmentation.detect import load_mask_rcnn, mask_rcnn
from segmentation.instances import Instances
from segmentation.measure import measure, summary
from segmentation.methods import Segmenter, segment, segmenters
from segmentation.pipeline import Result, run, save
from segmentation.scores import average_precision, score
from segmentation.threshold import threshold_segment
from simulate.errors import InputError

__all__ = [
    "InputError",
    "Instances",
    "Result",
    "Segmenter",
    "average_precision",
    "load_mask_rcnn",
    "mask_rcnn",
    "measure",
    "run",
    "save",
    "score",
    "segment",
    "segmenters",
    "summary",
    "threshold_segment",
]
