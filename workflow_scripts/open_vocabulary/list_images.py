"""List one part of the images of a folder in ImageNet's layout, <class>/<name>.JPEG.

In: the folder.
Out: a CSV of images without captions.
"""

from maskmill.data.index import shard
from maskmill.data.shards import list_image_folder, write_pairs
from maskmill.errors import InputError
from maskmill.workflow import stage


def main(pairs: str, root: str | None, scatteritem: str = "1-of-1") -> None:
    """List the images of one part.

    Args:
        pairs: CSV to write, with columns key, image (a file) and caption (empty).
        root: folder that holds ImageNet's 1,000 folders of classes.
    """
    if root is None:
        raise InputError(
            "config: pairs.imagenet.root is null; set it to the folder that holds ImageNet's 1,000 folders"
        )
    write_pairs(pairs, shard(list_image_folder(root), scatteritem))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
