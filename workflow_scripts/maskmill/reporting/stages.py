"""One picture of the maps that every stage made of an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.patches import Patch
from scipy.special import softmax

from maskmill.data.catalog import VOC, Dataset
from maskmill.data.images import BIASED
from maskmill.data.work_folder import class_name
from maskmill.reporting.overlay import label_colours, overlay
from maskmill.reporting.style import LABEL_OPACITY, PHOTO_DPI, plt, save

COLUMNS = 5
TITLE = 26  # characters per line


@dataclass(frozen=True)
class Panel:
    """One picture: labels uint8 [H, W]; a heat map [h, w] in 0..1; or colours [h, w, 3] in 0..1."""

    title: str
    values: np.ndarray
    form: Literal["labels", "heat", "colours"]


def panels_of(name: str, kind: str, array: np.ndarray, attributes: Mapping, dataset: Dataset | None) -> list[Panel]:
    """The panels that show one map of a store; an empty list for a map that is no picture.

    Labels are shown as they are. Activations get one panel per class where the store names the classes. Other scores
    are reduced to the strongest, features to their three principal components.

    Args:
        name: of the store, for the titles.
        kind, array, attributes: of the map, as in its store; kinds are `storage.maps.KINDS`.
        dataset: gives the names of the classes.
    """
    if kind == "label":
        return [Panel(name, array, "labels")]
    if kind == "confidence" and array.ndim == 2:
        return [Panel(name, array / 255 if array.dtype == np.uint8 else array, "heat")]
    if array.ndim != 3 or not array.size:
        return []
    if kind == "cam" and "classes" in attributes:
        names = [class_name(int(number), dataset) for number in attributes["classes"]]
        return [Panel(f"{name}\n{of}", plane, "heat") for of, plane in zip(names, array, strict=True)]
    if kind == "cam":
        return [Panel(f"{name}\nstrongest, scaled", _scaled(array.max(axis=0)), "heat")]
    if kind == "probability":
        return [Panel(f"{name}\nstrongest class", array.max(axis=0), "heat")]
    if kind == "logits":
        return [
            Panel(f"{name}\nsoftmax, strongest class", softmax(array.astype(np.float32), axis=0).max(axis=0), "heat")
        ]
    return [Panel(f"{name}\nprincipal components", principal_components(array), "colours")]


def principal_components(features: np.ndarray) -> np.ndarray:
    """The three strongest principal components of features [D, h, w] over their positions, float64 [h, w, 3], each
    scaled to 0..1. Where there are fewer than three, the others are 0."""
    vectors = features.reshape(len(features), -1).T.astype(np.float64)
    left, scale, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    strongest = np.zeros((*features.shape[1:], 3))
    for channel, component in enumerate((left * scale).T[:3]):
        strongest[..., channel] = _scaled(component.reshape(features.shape[1:]))
    return strongest


def _scaled(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return (values - values.min()) / max(np.ptp(values), 1e-12)


def draw_stages(
    image: np.ndarray, panels: Sequence[Panel], path: str | Path, title: str, dataset: Dataset | None
) -> None:
    """Draw an image and the maps of its stages side by side, with a legend of the classes that occur.

    Args:
        image: uint8 [H, W, 3].
        panels: their labels have the image's size.
        path: PNG file to write.
        dataset: of the labels; None: classes have no names, and VOC's colours.
    """
    occurring = {number for panel in panels if panel.form == "labels" for number in np.unique(panel.values).tolist()}
    handles = _legend(occurring, dataset)
    columns = min(COLUMNS, len(panels) + 1)
    rows = -(-(len(panels) + 1) // columns)
    height = (2.35 * image.shape[0] / image.shape[1] + 0.45) * rows + (0.9 if handles else 0.5)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.4 * columns + 0.5, height), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_axis_off()
    axes.flat[0].imshow(image)
    axes.flat[0].set_title("image", fontsize=8)
    heat = None
    for axis, panel in zip(axes.flat[1:], panels, strict=False):
        axis.set_title(wrapped(panel.title), fontsize=8)
        if panel.form == "labels":
            _draw_labels(axis, image, panel.values, dataset or VOC)
        elif panel.form == "heat":
            heat = axis.imshow(panel.values.astype(float), cmap="inferno", vmin=0, vmax=1)
        else:
            axis.imshow(panel.values)
    if heat:
        figure.colorbar(heat, ax=axes, fraction=0.02, pad=0.01, shrink=0.7, aspect=30).ax.tick_params(labelsize=8)
    if handles:
        place = {"loc": "outside lower center", "ncols": min(len(handles), 2 * columns)}
        figure.legend(handles=handles, fontsize=8, frameon=False, **place)
    figure.suptitle(title, fontsize=10)
    save(figure, path, PHOTO_DPI)


def _draw_labels(axis: plt.Axes, image: np.ndarray, labels: np.ndarray, dataset: Dataset) -> None:
    axis.imshow(overlay(image, labels, LABEL_OPACITY, dataset=dataset))
    removed = labels == BIASED
    if removed.any():
        axis.contourf(removed, levels=[0.5, 1.5], colors="none", hatches=["////"])


def _legend(ids: set[int], dataset: Dataset | None) -> list[Patch]:
    """A patch for each id that is painted, in rising order."""
    colours, handles = label_colours(dataset or VOC) / 255, []
    for number in sorted(ids):
        if number == 0 and (dataset or VOC).has_background:
            continue
        handles.append(Patch(facecolor=colours[number], label=class_name(number, dataset)))
        if number == BIASED:
            handles[-1].set(edgecolor="black", hatch="////")
    return handles


def wrapped(title: str, width: int = TITLE) -> str:
    """A title whose paths are broken after slashes where a line would be longer than `width` characters."""
    lines = []
    for line in title.split("\n"):
        lines.append("")
        for part in line.replace("/", "/\0").split("\0"):
            if lines[-1] and len(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(lines)
