"""Join the parts of a map store.

In: the parts.
Out: one map store that refers to them. It copies nothing, so the parts must stay.
"""

from maskmill.storage.maps import merge_maps
from maskmill.workflow import stage


def main(shards: list[str], maps: str) -> None:
    """Join the parts.

    Args:
        shards: map stores to join, with different images.
        maps: map store to write.
    """
    merge_maps(shards, maps)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
