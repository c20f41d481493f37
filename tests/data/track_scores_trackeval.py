"""Write `track_scores_trackeval.json`: frames with detections, their overlaps, and TrackEval's scores of them.

Needs TrackEval (MIT) and nothing of this project: `pip install trackeval==1.3.0`, then run this file.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

# TrackEval uses names that NumPy has dropped.
for name, kind in (("float", float), ("int", int), ("bool", bool)):
    if name not in np.__dict__:
        setattr(np, name, kind)

FRAMES, PARTICLES = 12, 6


def case():
    """Return ids of the truth and of trajectories, and overlaps, with misses, and two ids exchanged in the middle."""
    rng = np.random.default_rng(7)
    truths, founds, overlaps = [], [], []
    for frame in range(FRAMES):
        true, found = np.flatnonzero(rng.random(PARTICLES) > 0.1), np.flatnonzero(rng.random(PARTICLES) > 0.15)
        truths.append(true)
        founds.append(np.where(found == 0, 1, np.where(found == 1, 0, found)) if frame >= FRAMES // 2 else found)
        overlaps.append(rng.random((len(true), len(found))) * 0.4 + (true[:, None] == found[None]) * 0.55)
    return truths, founds, overlaps


def main():
    """Score the case and write the file."""
    from trackeval.metrics import CLEAR, HOTA, Identity  # pyright: ignore[reportMissingImports]

    truths, founds, overlaps = case()
    data = {
        "gt_ids": truths, "tracker_ids": founds, "similarity_scores": overlaps, "num_timesteps": FRAMES,
        "num_gt_ids": PARTICLES, "num_tracker_ids": PARTICLES, "num_gt_dets": sum(map(len, truths)),
        "num_tracker_dets": sum(map(len, founds)),
    }  # fmt: skip
    hota = HOTA().eval_sequence(data)
    clear = CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    identity = Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    frames = [
        {"truth": a.tolist(), "found": b.tolist(), "overlaps": c.tolist()}
        for a, b, c in zip(truths, founds, overlaps, strict=True)
    ]
    scores = {
        "hota": hota["HOTA"].mean(), "det_a": hota["DetA"].mean(), "ass_a": hota["AssA"].mean(),
        "mota": clear["MOTA"], "switches": clear["IDSW"], "idf1": identity["IDF1"],
    }  # fmt: skip
    golden = {"trackeval": "1.3.0", "scores": {name: float(value) for name, value in scores.items()}, "frames": frames}
    golden["sha256"] = hashlib.sha256(json.dumps(frames).encode()).hexdigest()
    Path(__file__).with_suffix(".json").write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
