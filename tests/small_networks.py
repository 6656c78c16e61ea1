"""Arguments of networks that are small enough for tests of several folders."""

GROUP_VIT = {
    "encoder": {"image_size": 32, "patch_size": 8, "width": 16, "heads": 2, "depths": (1, 1, 1), "groups": (6, 3)},
    "text": {"width": 16, "heads": 2, "layers": 1, "context_length": 8},
    "hidden": 24,
    "dim": 12,
    "words": ["a", "cat", "red"],
}
