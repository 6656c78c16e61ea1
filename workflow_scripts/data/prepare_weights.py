"""Fetch published weights of one network and save them as safetensors.

In: nothing but the name. Out: a safetensors file with the names of our networks. Weights of EfficientNet-Lite0 come
from an installed package, the others from their publishers.
"""

import tempfile
from pathlib import Path

from maskmill.data.download import download
from maskmill.networks.weights import WEIGHTS, convert, package_file
from maskmill.storage.checkpoints import save_tensors
from maskmill.workflow import stage


def main(network: str, weights: str) -> None:
    source = WEIGHTS[network]
    if source.package:
        save_tensors(weights, convert(network, package_file(source)), {"network": network})
        return
    with tempfile.TemporaryDirectory(dir=Path(weights).parent) as folder:
        published = Path(folder) / Path(source.url).name
        download([source.url], published, f"sha256:{source.sha256_prefix}")
        save_tensors(weights, convert(network, published), {"network": network, "url": source.url})


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
