"""maskmill: label-efficient and real-time semantic segmentation as one workflow."""

from maskmill.storage.maps import open_maps

__all__ = ["open_maps"]
