"""Pack listed images, and captions where they have some, into a shard.

In: CSV with the columns key, image and caption. Out: `shard`, a webdataset tar file, and its index beside it.
"""

from maskmill.data.shards import read_pairs, write_indexed_shard
from maskmill.workflow import stage


def main(pairs: str, shard: str, captioned: bool) -> None:
    write_indexed_shard(shard, read_pairs(pairs), captioned=captioned)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
