"""How much two tiles of a picture are alike, and how much of their area they share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from skimage.metrics import structural_similarity
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, precision_recall_fscore_support

WINDOW = 7  # pixels of the window of SSIM: no tile may be smaller


def levels(grey: np.ndarray, bins: int) -> np.ndarray:
    """Grey levels 0 to 255 as `bins` classes of equal width, int64.

    >>> levels(np.array([0, 127, 128, 255], np.uint8), 2)
    array([0, 0, 1, 1])
    """
    return grey.astype(np.int64) * bins // 256


def compare(truth: np.ndarray, test: np.ndarray, bins: int) -> dict[str, Any]:
    """Figures of two tiles of grey levels, uint8, of one shape (height, width), each side at least 7.

    Precision, recall and F1 are means over the levels that occur, each weighing the same. None where a figure is not
    defined: kappa and correlation of a tile of one level, PSNR of equal tiles (it would be infinite).
    """
    wanted, found = levels(truth, bins).ravel(), levels(test, bins).ravel()
    precision, recall, f1, _ = precision_recall_fscore_support(wanted, found, average="macro", zero_division=0)
    off = truth.astype(np.float64) - test.astype(np.float64)
    mse = float(np.mean(off**2))
    single = len(np.unique(wanted)) == 1 and len(np.unique(found)) == 1
    return {
        "confusion_matrix": confusion_matrix(wanted, found, labels=range(bins)).tolist(),
        "accuracy": float(accuracy_score(wanted, found)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "kappa": None if single else float(cohen_kappa_score(wanted, found)),
        "mse": mse,
        "psnr_db": None if mse == 0 else 10 * math.log10(255**2 / mse),
        "ssim": float(structural_similarity(truth, test, win_size=WINDOW, data_range=255)),
        "correlation": correlation(truth, test),
    }


def correlation(truth: np.ndarray, test: np.ndarray) -> float | None:
    """Pearson's correlation of two tiles; None where one of them has a single level."""
    if truth.min() == truth.max() or test.min() == test.max():
        return None
    return float(np.corrcoef(truth.ravel(), test.ravel())[0, 1])


def overlap(truth: tuple[int, int, int, int], test: tuple[int, int, int, int]) -> dict[str, Any]:
    """Whether two rectangles of one size (left, top, right, bottom) share pixels, and how much of their area, exactly.

    >>> overlap((0, 0, 10, 10), (5, 0, 15, 10))
    {'overlaps': True, 'shared_pixels': 50, 'overlap_percent': 50.0}
    """
    wide = min(truth[2], test[2]) - max(truth[0], test[0])
    high = min(truth[3], test[3]) - max(truth[1], test[1])
    shared = max(0, wide) * max(0, high)
    area = (truth[2] - truth[0]) * (truth[3] - truth[1])
    return {"overlaps": shared > 0, "shared_pixels": shared, "overlap_percent": 100 * shared / area}
