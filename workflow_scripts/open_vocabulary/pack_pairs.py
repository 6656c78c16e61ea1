"""Pack listed images, and their captions where they have some, into a shard.

In: a CSV of images and captions.
Out: a shard and its index.
"""

from maskmill.data.shards import read_pairs, write_indexed_shard
from maskmill.workflow import stage


def main(pairs: str, shard: str, captioned: bool) -> None:
    """Pack the shard.

    Args:
        shard: webdataset tar file to write; its index is written beside it.
        captioned: whether the images have captions.
    """
    write_indexed_shard(shard, read_pairs(pairs), captioned=captioned)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
