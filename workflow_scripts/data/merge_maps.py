"""Join the shards of a map store.

In: the shards. Out: one map store that refers to them; nothing is copied, so the shards must stay.
"""

from maskmill.storage.maps import merge_maps
from maskmill.workflow import stage


def main(shards: list[str], maps: str) -> None:
    merge_maps(shards, maps)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
