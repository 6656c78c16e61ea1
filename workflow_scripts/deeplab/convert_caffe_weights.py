"""Convert a .caffemodel to the weights of a backbone.

In: the .caffemodel.
Out: a safetensors file with the names of our networks.
"""

from maskmill.networks.caffe import from_caffe, read_caffemodel
from maskmill.storage.checkpoints import save_tensors
from maskmill.workflow import stage


def main(caffemodel: str, weights: str, backbone: str) -> None:
    """Convert the file.

    Args:
        caffemodel: file of the published model.
        weights: safetensors file to write.
        backbone: resnet101_caffe or vgg16_caffe.
    """
    tensors = from_caffe(read_caffemodel(caffemodel), backbone, caffemodel)
    save_tensors(weights, tensors, {"network": backbone, "source": caffemodel})


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
