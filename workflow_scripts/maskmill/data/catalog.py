"""The catalog of data sets: where they come from, their classes, their published splits.

A new data set in VOC's layout is one more `Dataset`, listed in `DATASETS`.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maskmill.errors import InputError


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        name: of the file.
        urls: sources, tried in order.
        checksum: "md5:<hex>" or "sha256:<hex>".
        members: folders and files that are unpacked.
        size: bytes; None where no source states it.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str
    members: tuple[str, ...]
    size: int | None = None


@dataclass(frozen=True)
class Split:
    """A published split.

    Attributes:
        images: number of images.
        sha256: of the text of the sorted list of ids, one id per line, LF; None where no published list was available.
    """

    images: int
    sha256: str | None = None


@dataclass(frozen=True)
class Layout:
    """The folders of a data set in VOC's layout, relative to its root.

    Attributes:
        lists: has <split>.txt; None where each folder of `images` is a split, named by the folder's last part.
        masks: have <id>.png; the first folder with the image's mask counts.
        images: have <id>.jpg or <id>.png; the first folder with the image counts.
        annotations: has <id>.xml; None where tags come from the masks.
    """

    lists: str | None
    masks: tuple[str, ...]
    images: tuple[str, ...] = ("JPEGImages",)
    annotations: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: key in `DATASETS` and in the configuration.
        classes: names in the order of the mask ids, from 0.
        folder: usual name of the root.
        origin: what the root is and where to get it; completes the message "set data.<name>.root to ...".
        layout: None where the files are not in VOC's layout.
        archives: files to download; empty where the user must provide the data set.
        splits: published splits, by name.
        converted: whether the rule prepare_<name> first rewrites the user's root in `layout`.
    """

    name: str
    classes: tuple[str, ...]
    folder: str
    origin: str
    layout: Layout | None = None
    archives: dict[str, Archive] = field(default_factory=dict)
    splits: dict[str, Split] = field(default_factory=dict)
    converted: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def has_background(self) -> bool:
        """Whether mask id 0 means "none of the classes"; otherwise it is a class like the others."""
        return self.classes[0] == "background"

    @property
    def downloadable(self) -> bool:
        """Whether the workflow can download the data set."""
        return bool(self.archives)


VOC_URL = "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"

VOC = Dataset(
    name="voc",
    folder="VOC2012",
    origin=(
        "VOCdevkit/VOC2012 (JPEGImages, SegmentationClass, ImageSets/Segmentation) of "
        f"{VOC_URL}, or to null to have it downloaded"
    ),
    layout=Layout(
        lists="ImageSets/Segmentation",
        masks=("SegmentationClassAug", "SegmentationClass"),
        annotations="Annotations",
    ),
    classes=(
        *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
        *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
        *("train", "tvmonitor"),
    ),
    archives={
        # First URL and MD5: torchvision 0.29.1, datasets/voc.py. Second URL: J. Redmon's mirror, from which
        # KerasCV downloads. Size: as the servers report it.
        "voc2012": Archive(
            name="VOCtrainval_11-May-2012.tar",
            urls=(
                VOC_URL,
                "https://data.pjreddie.com/files/VOCtrainval_11-May-2012.tar",
            ),
            checksum="md5:6cd6e144f989b92b3379bac3b3de84fd",
            members=tuple(
                f"VOCdevkit/VOC2012/{folder}"
                for folder in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation")
            ),
            size=1_999_639_040,
        ),
        # URL and MD5: torchvision 0.29.1, datasets/sbd.py.
        "sbd": Archive(
            name="benchmark.tgz",
            urls=(
                "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
            ),
            checksum="md5:82b4d87ceb2ed10f6038a1cba92111cb",
            members=tuple(f"benchmark_RELEASE/dataset/{name}" for name in ("cls", "train.txt", "val.txt")),
        ),
    },
    # The lists that IRN and BAS use; train_aug is VOC's train with SBD's images, without val.
    splits={
        "train": Split(1_464, "aa623bd2c8ce4443a8aaae51c524c0eb165e8e44caf6aa9e3ad33d7b75a3ef20"),
        "train_aug": Split(10_582, "d1326bd532648d73bc4b1bd275434eba81930982dc7401a65a8cecb26c028e24"),
        "val": Split(1_449, "cdc1326d12f69ce5153aa5da04a4d8783e146868d42d19f82f44e74b97ac907d"),
    },
)

# Numbers of images: DeepLab v2, Sec. 4. Classes and their order: the class list and the converter
# tools/dataset_converters/pascal_context.py of OpenMMLab's mmsegmentation, which sorts the names.
CONTEXT = Dataset(
    name="context",
    folder="VOC2010",
    origin=(
        "VOCdevkit/VOC2010 (JPEGImages, SegmentationClassContext, ImageSets/SegmentationContext) as mmsegmentation's "
        "tools/dataset_converters/pascal_context.py leaves it; PASCAL-Context is never downloaded"
    ),
    layout=Layout(lists="ImageSets/SegmentationContext", masks=("SegmentationClassContext",)),
    classes=(
        *("background", "aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book"),
        *("bottle", "building", "bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow"),
        *("cup", "curtain", "dog", "door", "fence", "floor", "flower", "food", "grass", "ground", "horse"),
        *("keyboard", "light", "motorbike", "mountain", "mouse", "person", "plate", "platform", "pottedplant"),
        *("road", "rock", "sheep", "shelves", "sidewalk", "sign", "sky", "snow", "sofa", "table", "track"),
        *("train", "tree", "truck", "tvmonitor", "wall", "water", "window", "wood"),
    ),
    splits={"train": Split(4_998), "val": Split(5_105)},
)

# Numbers of images: DeepLab v2, Sec. 4. Order of the ids: that of the masks that DeepLab's authors distribute, as
# other users list it. We chose the names of the folders, after the devkit's.
PERSON_PART = Dataset(
    name="person_part",
    folder="pascal_person_part",
    origin=(
        "a folder with VOC 2010's JPEGImages, the merged part masks as SegmentationPart/<id>.png (0 background, 1 head "
        "to 6 lower leg) and ImageSets/SegmentationPart/train.txt and val.txt; PASCAL-Person-Part is never downloaded"
    ),
    layout=Layout(lists="ImageSets/SegmentationPart", masks=("SegmentationPart",)),
    classes=("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg"),
    splits={"train": Split(1_716), "val": Split(1_817)},
)

# Classes: trainIds of the data set's labels.py. Hashes: the sorted lists of ids that MGD's release trains and tests on.
CITYSCAPES = Dataset(
    name="cityscapes",
    folder="cityscapes",
    origin=(
        "the folder with leftImg8bit and gtFine; Cityscapes is never downloaded: register at "
        "https://www.cityscapes-dataset.com for leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip"
    ),
    classes=(
        *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
        *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    ),
    splits={
        "train": Split(2_975, "7f56ebec1d2eb8db59a3600206fcf7f05b53a7f3a8cf66381e6de73356b9eb7a"),
        "val": Split(500, "73099b252b778d6fa89467ad05a7068b8a6a0f931693f909e1acbf189a36fb52"),
    },
)

# The cities of Cityscapes' splits, from the same lists.
CITIES = {
    "train": (
        *("aachen", "bochum", "bremen", "cologne", "darmstadt", "dusseldorf", "erfurt", "hamburg", "hanover", "jena"),
        *("krefeld", "monchengladbach", "strasbourg", "stuttgart", "tubingen", "ulm", "weimar", "zurich"),
    ),
    "val": ("frankfurt", "lindau", "munster"),
}

# Order of the ids, and splits: SegNet's release. PIDNet and P2AT use the same sets of images.
CAMVID = Dataset(
    name="camvid",
    folder="CamVid",
    origin=(
        "the folder with CamVid's 701 images and their colour masks (<id>_L.png), each in one folder of its own, or to "
        "SegNet's release (train, trainannot, val, valannot, test, testannot); CamVid is never downloaded: "
        "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid"
    ),
    layout=Layout(lists="ImageSets/Segmentation", masks=("SegmentationClass",)),
    classes=(
        *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
    ),
    splits={
        "train": Split(367, "0f2b2149e1c9f0df5c4740d2532d6418b8163c47bd2994f198fc05a8a2108507"),
        "val": Split(101, "f80b1b93a53eb17ca8cdd58b5d6e8b0301f1efe0e3a17a7f63454d8c6473150d"),
        "test": Split(233, "6bb0c1951e12b4b5b5a9c6bc2dd6afe2730b6efb7b70395fb859cd3ea2eef702"),
        "trainval": Split(468, "499cb5d07fb8afdd9d77fd899525256cb42677e1d88e9ab76f7c5449a999db0a"),
    },
    converted=True,
)

# Colours of the official masks, in the order of the classes, as in P2AT's release; the other 21 colours are ignored.
CAMVID_COLOURS = (
    *((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0)),
    *((192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)),
)

# Classes: the categories of the official annotations, in their order. The official ids have gaps, these have none.
# Numbers of images: those with at least one instance, as in BAS's lists; the official splits have 82,783 and 40,504.
COCO = Dataset(
    name="coco",
    folder="coco2014",
    origin=(
        "the folder with train2014, val2014 and annotations/instances_{train,val}2014.json; MS COCO 2014 is never "
        "downloaded: get train2014.zip, val2014.zip and annotations_trainval2014.zip from https://cocodataset.org"
    ),
    layout=Layout(lists="ImageSets/Segmentation", masks=("SegmentationClass",), annotations="Annotations"),
    classes=(
        *("background", "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
        *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse"),
        *("sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie"),
        *("suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove"),
        *("skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon"),
        *("bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut"),
        *("cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse"),
        *("remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book"),
        *("clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
    ),
    splits={"train": Split(82_081), "val": Split(40_137)},
    converted=True,
)

# Classes: the first name of each class in the list of the scene parsing benchmark, in the order of its ids. Id 0 has no
# name there; BARM's release counts it as background. Hashes: the ids in that release's lists.
ADE20K = Dataset(
    name="ade20k",
    folder="ADEChallengeData2016",
    origin=(
        "the folder with images/training, images/validation, annotations/training and annotations/validation of the "
        "scene parsing benchmark (ids 0..150); ADE20K is never downloaded: http://sceneparsing.csail.mit.edu"
    ),
    layout=Layout(
        lists=None,
        masks=("annotations/training", "annotations/validation"),
        images=("images/training", "images/validation"),
    ),
    classes=(
        *("background", "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass"),
        *("cabinet", "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car"),
        *("water", "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat"),
        *("fence", "desk", "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column"),
        *("signboard", "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator"),
        *("grandstand", "path", "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway"),
        *("river", "bridge", "bookcase", "blind", "coffee table", "toilet", "flower", "book", "hill", "bench"),
        *("countertop", "stove", "palm", "kitchen island", "computer", "swivel chair", "boat", "bar"),
        *("arcade machine", "hovel", "bus", "towel", "light", "truck", "tower", "chandelier", "awning"),
        *("streetlight", "booth", "television receiver", "airplane", "dirt track", "apparel", "pole", "land"),
        *("bannister", "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van", "ship", "fountain"),
        *("conveyer belt", "canopy", "washer", "plaything", "swimming pool", "stool", "barrel", "basket"),
        *("waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank", "trade name"),
        *("microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen", "blanket", "sculpture", "hood"),
        *("sconce", "vase", "traffic light", "tray", "ashcan", "fan", "pier", "crt screen", "plate", "monitor"),
        *("bulletin board", "shower", "radiator", "glass", "clock", "flag"),
    ),
    splits={
        "training": Split(20_210, "6bb3631cc6ddf61eca5a9427027776105361247c675064347e7d711dd847c408"),
        "validation": Split(2_000, "302fe0402c1fa1a83d54bc5d20723d53e2367320105f036673dafb1bd88aff9d"),
    },
)

DATASETS = {dataset.name: dataset for dataset in (VOC, CONTEXT, PERSON_PART, CITYSCAPES, CAMVID, COCO, ADE20K)}

OWN = "mine"  # name of the user's own images, whose classes are in the configuration
CLASS_LIST = "classes.txt"  # beside the index of such images: their classes in the order of the mask ids, one per line


def find_dataset(name: str, index: str | Path) -> Dataset:
    """A data set by its name: one of the catalog, or the user's own images.

    Args:
        name: key of `DATASETS`, or `OWN`.
        index: of the data set; the classes of the user's own images are in a file beside it.

    Raises:
        InputError: the file with the classes is missing.
    """
    return own_dataset(read_classes(Path(index).with_name(CLASS_LIST))) if name == OWN else DATASETS[name]


def own_dataset(classes: Sequence[str]) -> Dataset:
    """The user's own images as a data set.

    Args:
        classes: names in the order of the mask ids, from 0, which is background.
    """
    return Dataset(name=OWN, classes=tuple(classes), folder="", origin="a folder of images")


def read_classes(path: str | Path) -> list[str]:
    """Read class names, one per line.

    Raises:
        InputError: the file is missing.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such list of classes; run snakemake to make it with the index")
    return Path(path).read_text(encoding="utf-8").splitlines()


def class_ids(names: Iterable[str], classes: Sequence[str] = VOC.classes) -> tuple[int, ...]:
    """Mask ids of class names, in the order of `names`.

    Raises:
        InputError: a name is not among `classes`; the message offers the nearest one.
    """
    ids = {name: number for number, name in enumerate(classes)}
    names = tuple(names)
    for name in names:
        if name not in ids:
            nearest = difflib.get_close_matches(name, classes, n=1, cutoff=0.5)
            fix = f"did you mean {nearest[0]!r}?" if nearest else f"choose from {', '.join(classes)}"
            raise InputError(f"unknown class {name!r}; {fix}")
    return tuple(ids[name] for name in names)


def voc_palette() -> np.ndarray:
    """VOC's colours, uint8 [256, 3] RGB, one row per id.

    The bits of the id, starting with the lowest, are assigned in turn to red, green and blue, whose bits are filled
    starting with the highest. Source: the colour map of the VOC development kit.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((ids >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return palette


def colours_of(dataset: Dataset) -> np.ndarray:
    """The colours that pictures show a data set's classes in, uint8 [K, 3] RGB: CamVid has its own, others VOC's."""
    return np.array(CAMVID_COLOURS, np.uint8) if dataset is CAMVID else voc_palette()[: dataset.num_classes]


def averaged_ids(dataset: Dataset, names: Sequence[str] | None) -> tuple[int, ...] | None:
    """Mask ids that scores are averaged over.

    Args:
        names: of classes; None: all classes.

    Returns:
        The ids of the named classes, and of background where the data set has one; None for all.

    Raises:
        InputError: a name is unknown.
    """
    if names is None:
        return None
    return (*((0,) if dataset.has_background else ()), *class_ids(names, dataset.classes))
