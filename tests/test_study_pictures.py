"""The figures of a study and of a plan say what they show, and their legends cover nothing of it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from segmentation.bench import robustness
from segmentation.study.report_figures import SCORE_LIMITS, draw_curves, draw_equal_cost, draw_smallest

DOSES = (5.0, 10.0, 100.0)


def compared(doses=DOSES, low=-1.5, high=1.2):
    return pd.DataFrame([
        {"pairing": "dose", "paired_scheme": scheme, "paired_ratio": ratio, "peak_counts": dose, "sparse": 0.4,
         "full": 0.5, "low": low, "high": high}
        for scheme in ("random", "line-hop") for ratio in (0.1, 0.3) for dose in doses
    ])  # fmt: skip


def drawn(draw, table, size=(9.0, 5.0)):
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure, table)
    figure.canvas.draw()
    return figure


def legend_words(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def assert_legend_covers_nothing(figure):
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y0 >= 0
    assert all(box.y1 <= axes.get_tightbbox().y0 for axes in figure.axes)


@pytest.mark.parametrize("width", [4.0, 6.0, 12.0])
@pytest.mark.parametrize("doses", [DOSES[:1], DOSES[:2], DOSES])
def test_equal_cost_names_counts_and_the_band_and_keeps_a_dose_in_a_column(doses, width):
    figure = drawn(lambda figure, table: draw_equal_cost(figure, table, "score"), compared(doses), (width, 5.0))
    words = legend_words(figure)
    assert len(words) == 3 * len(doses)
    for index, dose in enumerate(doses):
        own = words[3 * index : 3 * index + 3]
        assert all(word.endswith(f"{dose:g} counts") for word in own)
        assert [word.split()[0] for word in own] == ["sparse,", "full", "95"]
    columns = {round(text.get_window_extent().x0) for text in figure.legends[0].get_texts()}
    assert len(doses) == 1 or len(doses) % len(columns) == 0
    assert_legend_covers_nothing(figure)


def test_equal_cost_draws_no_score_that_does_not_exist():
    figure = drawn(lambda figure, table: draw_equal_cost(figure, table, "score"), compared())
    for axes in figure.axes:
        assert axes.get_ylim() == SCORE_LIMITS
        bands = np.concatenate([band.get_paths()[0].vertices[:, 1] for band in axes.collections])
        assert (bands.min(), bands.max()) == (0, 1)


def test_what_is_drawn_in_one_panel_alone_is_in_the_legend_too():
    table = compared()
    table = table[(table["paired_scheme"] == "line-hop") | (table["peak_counts"] == 5.0)]
    words = legend_words(drawn(lambda figure, table: draw_equal_cost(figure, table, "score"), table))
    assert sum(word.startswith("sparse") for word in words) == len(DOSES)


def test_open_marks_of_the_smallest_particle_are_explained_where_there_are_some():
    table = pd.DataFrame([
        {"scheme": "random", "ratio": ratio, "peak_counts": 20.0, "diameter_px": 9.0, "low": 8.0, "high": 10.0,
         "limit": ""}
        for ratio in (0.1, 0.3)
    ])  # fmt: skip
    assert legend_words(drawn(draw_smallest, table)) == ["20 counts"]
    table.loc[0, "limit"] = "none is found"
    figure = drawn(draw_smallest, table)
    assert legend_words(figure) == ["20 counts", "20 counts: beyond the sizes there were"]
    assert_legend_covers_nothing(figure)


def test_curves_of_no_score_keep_their_own_axis():
    rows = pd.DataFrame([
        {"pairing": "", "scheme": "random", "ratio": ratio, "peak_counts": dose, "recon": "linear", "model": "",
         "frame": frame, "error": "", "psnr_db": 20 + frame + 10 * ratio}
        for ratio in (0.1, 0.3) for dose in (0.0, 10.0) for frame in range(4)
    ])  # fmt: skip
    figure = drawn(lambda figure, table: draw_curves(figure, table, "psnr_db", "PSNR (dB)"), rows)
    assert figure.axes[0].get_ylim()[1] > 20
    assert legend_words(figure) == ["linear"]
    assert [axes.get_title("left") or axes.get_title() for axes in figure.axes] == [
        "random, no noise", "random, 10 counts",
    ]  # fmt: skip
    assert_legend_covers_nothing(figure)


def test_models_of_the_robustness_figure_differ_in_colour_and_mark(monkeypatch, tmp_path):
    rows = pd.DataFrame([
        {"knob": knob.name, "value": value, "frame": 0, "model": model, robustness.AP: 0.5}
        for knob in robustness.KNOBS for value in knob.values for model in ("a", "b", "c", "d", "e")
    ])  # fmt: skip
    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))
    with pytest.raises(FileNotFoundError):  # nothing was written to be moved into place
        robustness.robustness_figure(rows, tmp_path / "curves.png")
    (figure,) = kept
    FigureCanvasAgg(figure).draw()
    lines = figure.axes[0].lines
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 5
    assert_legend_covers_nothing(figure)
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks == [f"{value:g}" for value in dataclasses.asdict(robustness.KNOBS[0])["values"]]
