"""Grad-CAM++ written out from its paper in float64, one sum at a time, with a switch for each way libraries deviate."""

from __future__ import annotations

import numpy as np


def by_the_equations(
    features: np.ndarray,
    gradients: np.ndarray,
    *,
    sum_of_activations: bool = False,
    epsilon: float = 0.0,
    exp_of_score: float = 1.0,
    rectified: bool = True,
) -> np.ndarray:
    """Equations 5, 10 and 19 of Grad-CAM++ for one view, (K, h, w) each, 0/0 = 0; exp(S) cancels in alpha (equation 10).

    ``sum_of_activations``: the denominator has the sum of A times the cell's own g^3, not the sum of A g^3. ``epsilon`` is
    added to a denominator. ``exp_of_score`` is the factor of dY/dA in equation 5. ``rectified``: the last ReLU of equation 19.
    """
    features, gradients = features.astype(np.float64), gradients.astype(np.float64)
    channels, rows, columns = features.shape
    result = np.zeros((rows, columns))
    for k in range(channels):
        activations, cubes = 0.0, 0.0
        for a in range(rows):
            for b in range(columns):
                activations += features[k, a, b]
                cubes += features[k, a, b] * gradients[k, a, b] ** 3
        weight = 0.0
        for i in range(rows):
            for j in range(columns):
                g = gradients[k, i, j]
                below = 2 * g**2 + (activations * g**3 if sum_of_activations else cubes)
                alpha = g**2 / (below + epsilon) if below != 0 else 0.0
                weight += alpha * max(exp_of_score * g, 0.0)
        result += weight * features[k]
    return np.maximum(result, 0.0) if rectified else result
