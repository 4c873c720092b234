"""Which pictures a run draws, and of what."""

import warnings

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from gradninja.training import go
from gradninja.training.folder import PICTURES
from gradninja.training.metrics import diagnostics
from gradninja.training.pictures import plots
from small_runs import small_run


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({}, set()),
        ({"steps": 1}, set()),
        ({"model": "bow", "steps": 1}, set()),
        ({"model": "bigram"}, {"activations.png"}),
        ({"model": "bigram", "fit": True}, {"activations.png", "loss.png", "ratios.png"}),
    ],
    ids=["mlp_batchnorm", "one step", "whole words", "bigram", "bigram by counting"],
)
def test_a_run_draws_what_it_has(tmp_path, settings, missing):
    run = small_run(tmp_path, **settings)
    go(run)
    drawn = {path.name for path in run.folder.path.glob("*.png")}
    assert drawn == set(PICTURES) - missing
    for name in drawn:
        image = imread(run.folder.path / name)
        assert image.shape[0] > 150 and image.shape[1] > 150
        assert np.unique(image[..., 0]).size > 10  # not blank


def test_the_pictures_show_the_numbers(tmp_path):
    config = small_run(tmp_path).config
    rows = [{"step": 20 * k, "loss": 3.0 - 0.1 * k, "rate": 0.1} for k in range(1, 3)]
    rows.append({"step": 40, "train_loss": 2.7, "validation_loss": 2.9})
    axes = plots._loss(rows, config).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[20, 2.9], [40, 2.8]]
    assert [line.get_ydata()[0] for line in axes.lines[1:3]] == [2.7, 2.9]

    ratios = {"W1": 0.1, "b1": 1e-9, "b2": None}
    rows = [{"step": 10, "gradient_to_data": ratios, "update_to_data": ratios}]
    figure = plots._ratios(rows)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == ["W1", "b1 (zero but for rounding)", "b2 (zero but for rounding)"]
    low, high = figure.axes[0].get_ylim()
    assert 1e-9 < low < 0.1 < high

    h = np.array([[0.96, -0.99], [0.1, 0.98], [-0.9, -1.0], [0.0, 1.0]])
    top, bottom = plots._activations(h).axes
    assert "50.0% saturated" in top.get_title()
    assert bottom.get_title().endswith("here 1")
    assert np.array_equal(bottom.images[0].get_array(), np.abs(h) > 0.97)

    dlogits = np.arange(12.0).reshape(3, 4) - 6
    axes = plots._dlogits(dlogits, np.array([0, 3, 1]), (".", "a", "b", "c")).axes[0]
    assert np.array_equal(axes.images[0].get_array(), dlogits)
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [3, 1], [1, 2]]
    assert [label.get_text() for label in axes.get_xticklabels()] == [".", "a", "b", "c"]


def test_letters_of_every_alphabet_stand_on_the_axis(tmp_path):
    """Letters, or their numbers where no font has them; of many, those that are pushed most."""
    dlogits = np.zeros((2, 300))
    dlogits[:, 250] = -5.0
    dlogits[0, 299], dlogits[1, 17] = -0.1, 0.2
    letters = (".", *(chr(0x4E00 + k) for k in range(299)))
    figure = plots._dlogits(dlogits, np.array([299, 3]), letters)
    axes = figure.axes[0]
    columns = len(axes.get_xticks())
    assert columns == 64 and axes.images[0].get_array().shape == (2, columns)
    told = [label.get_text() for label in axes.get_xticklabels()]
    for letter in (letters[250], letters[299], letters[17], letters[3]):
        assert letter in told or f"U+{ord(letter):04X}" in told
    assert axes.lines[0].get_xdata()[0] == columns - 1  # 299, the last of those shown
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of glyphs that are missing
        figure.savefig(tmp_path / "a.png")
        figure = plots._dlogits(np.eye(4), np.arange(4), (".", "ж", "ß", "\u0378"))
        figure.savefig(tmp_path / "b.png")
    told = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert told == [".", "ж", "ß", "U+0378"]


def test_the_letters_of_whole_words_are_rows_and_the_padding_is_none():
    targets = torch.tensor([[1, 0, -1], [2, 2, 0]])
    value = torch.arange(12.0).view(2, 3, 2)
    rows = plots._letters(value, targets)
    assert rows.tolist() == [[0, 1], [2, 3], [6, 7], [8, 9], [10, 11]]
    assert plots._letters(value, targets[:, :2]) is None


def test_diagnostics_are_ratios_of_standard_deviations():
    generator = torch.Generator().manual_seed(1)
    W1, dW1 = (torch.randn(4, 5, generator=generator) for _ in range(2))
    b, db = torch.zeros(3), torch.ones(3)
    h = torch.tensor([[0.971, -0.98], [0.969, 0.1]])
    row = diagnostics({"h": h, "dW1": dW1, "db": db}, {"W1": W1, "b": b}, rate=0.1)
    ratio = (dW1.std() / W1.std()).item()
    assert row["saturated"] == 0.5
    assert row["gradient_to_data"] == {"W1": pytest.approx(ratio), "b": None}
    assert row["update_to_data"] == {"W1": pytest.approx(0.1 * ratio), "b": None}
    assert "saturated" not in diagnostics({"dW1": dW1}, {"W1": W1}, rate=0.1)
