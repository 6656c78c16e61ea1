"""Resizing of score maps and labels without torch."""

import cv2
import numpy as np


def resize_planes(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float32 [K, h, w] resized to `size` (H, W), bilinear with half-pixel centres: float32 [K, H, W]."""
    out = np.empty((len(planes), *size), np.float32)
    for plane, small in zip(out, planes, strict=True):
        plane[:] = cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)
    return out


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels uint8 [h, w] resized to `size` (H, W) by nearest neighbour: uint8 [H, W]."""
    if labels.shape == size:
        return labels
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
