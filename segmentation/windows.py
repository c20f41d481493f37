"""Networks on frames of any size: window by window, merged with no seams and nothing counted twice.

A frame of up to a million pixels is one window. The maps of a larger one are blended where windows overlap, as those of
a reconstruction are. Detections are collected: a particle in the overlap of two windows is found in both, whole in at
least one of them if it is smaller than the overlap; what a window's edge cuts gives way to what it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchvision.ops import nms

from cs_recon.tiles import WHOLE_PIXELS, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from segmentation.mapping import Mapped

TILE, HALO = 768, 128
"""Side of a window without its halo, and how far it reaches beyond, in pixels: windows overlap by 2 x 128."""
_DUPLICATE_IOU = 0.5
_COVERED_SHARE = 0.5
_EDGE_PX = 1.5


def dense_maps(run: Callable[[Tensor], dict[str, Tensor]], mapped: Mapped, *, multiple: int) -> dict[str, Tensor]:
    """Return a network's maps (H, W), padded as the frame is, blended from windows.

    Parameters
    ----------
    run : callable
        From maps (1, C, h, w) to named maps (H, W) of the window.
    mapped : Mapped
        The frame.
    multiple : int
        What corners of windows are multiples of.
    """
    found: dict[str, Tensor] = {}
    for rows, cols, weight in _windows(mapped, multiple):
        maps = run(mapped.window(rows, cols))
        for name, part in maps.items():
            whole = found.setdefault(name, torch.zeros(mapped.padded, device=part.device))
            whole[rows, cols] += weight.to(part) * part
    return found


def detections(
    run: Callable[[Tensor], dict[str, Tensor]], mapped: Mapped, *, multiple: int, min_score: float
) -> dict[str, Tensor]:
    """Return a network's detections over the frame, best first.

    Parameters
    ----------
    run : callable
        From maps (1, C, h, w) to ``boxes`` (N, 4), ``scores`` (N,) and ``masks`` (N, 28, 28) in the window.
    mapped, multiple : Mapped, int
        As of `dense_maps`.
    min_score : float
        Detections scored lower are left out.
    """
    parts: list[dict[str, Tensor]] = []
    for rows, cols, _ in _windows(mapped, multiple):
        found = run(mapped.window(rows, cols))
        sure = found["scores"] >= min_score
        boxes = found["boxes"][sure] + found["boxes"].new_tensor([cols.start, rows.start, cols.start, rows.start])
        parts.append({
            "boxes": boxes,
            "scores": found["scores"][sure],
            # Half precision is exact enough for masks and keeps thousands of them small.
            "masks": found["masks"][sure].half(),
            "cut": _cut(boxes, rows, cols, mapped.padded),
        })  # fmt: skip
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    kept = _distinct(**joined) if len(parts) > 1 else torch.argsort(joined["scores"], descending=True, stable=True)
    return {name: joined[name][kept] for name in ("boxes", "scores", "masks")}


def _windows(mapped: Mapped, multiple: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield windows' rows and columns, and the weights (h, w) with which they blend."""
    rows, cols = mapped.padded
    if rows * cols <= WHOLE_PIXELS:
        yield slice(0, rows), slice(0, cols), torch.ones(1, 1)
        return
    row_spans, col_spans = (spans(side, TILE, HALO, multiple) for side in (rows, cols))
    for row in row_spans:
        for col in col_spans:
            weight = row.weight(HALO).float()[:, None] * col.weight(HALO).float()
            yield slice(row.start, row.stop), slice(col.start, col.stop), weight


def _cut(boxes: Tensor, rows: slice, cols: slice, frame: tuple[int, int]) -> Tensor:
    """Tell which boxes touch an edge of their window that is none of the frame's."""
    x0, y0, x1, y1 = boxes.unbind(1)
    cut = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if cols.start > 0:
        cut |= x0 < cols.start + _EDGE_PX
    if rows.start > 0:
        cut |= y0 < rows.start + _EDGE_PX
    if cols.stop < frame[1]:
        cut |= x1 > cols.stop - _EDGE_PX
    if rows.stop < frame[0]:
        cut |= y1 > rows.stop - _EDGE_PX
    return cut


def _distinct(boxes: Tensor, scores: Tensor, masks: Tensor, cut: Tensor) -> Tensor:
    """Return the detections to keep, best first: whole ones before cut ones, each particle once."""
    del masks
    kept = nms(boxes, scores + (~cut).float(), _DUPLICATE_IOU)
    whole = boxes[kept][~cut[kept]]
    pieces = torch.nonzero(cut[kept])[:, 0]
    if len(pieces) and len(whole):
        covered = _covered_share(boxes[kept][pieces], whole).amax(dim=1) > _COVERED_SHARE
        left = torch.ones(len(kept), dtype=torch.bool, device=boxes.device)
        left[pieces[covered]] = False
        kept = kept[left]
    return kept[torch.argsort(scores[kept], descending=True, stable=True)]


def _covered_share(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the share of each box (N) that each other one (M) covers, (N, M)."""
    corner = torch.minimum(boxes[:, None, 2:], others[None, :, 2:]) - torch.maximum(
        boxes[:, None, :2], others[None, :, :2]
    )
    sides = boxes[:, 2:] - boxes[:, :2]
    return corner.clamp(min=0).prod(dim=2) / sides.prod(dim=1, keepdim=True).clamp(min=1e-6)
