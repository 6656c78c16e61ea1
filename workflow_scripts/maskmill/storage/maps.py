"""Map stores: one HDF5 file with one array per image, or per batch (CAMs, features, labels, probabilities).

Layout: `/maps/<image_id>` holds the array, with attributes of the image (`classes`, ...); the id of a batch is
`batch_<iteration>`. The attributes of the root are `schema`, `kind`, `producer`, `parameters` (JSON), `inputs` (JSON,
file to SHA-256), `versions` (JSON) and `complete`, which is written last.

Every byte that carries meaning has a checksum: maps have their own (Fletcher-32), and HDF5 has checksums of its
metadata from format 1.10 on. Reading a file that was damaged after it was written raises an error that names it.
"""

import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.access import barred, check_readable
from maskmill.storage.atomic import atomic_path

SCHEMA = 1  # of this layout; a store of another schema is refused
FORMAT = ("v110", "v110")  # of the file: the first in which all metadata have checksums

# What the arrays of a store may be. The commands `show` and `list` choose a representation by it, and `open_labels`
# refuses other kinds. A new kind is added here and, where it can be drawn, to `reporting.stages.panels_of`.
KINDS = (
    "cam",  # activations in 0..1, [k, h, w] of the classes in the attribute `classes`
    "features",  # vectors, [D, h, w]; feature stores have this kind too, see `storage.features`
    "label",  # class ids, uint8 [H, W]; 254 removed as biased, 255 ignore
    "logits",  # scores before softmax, [K, h, w]
    "probability",  # [K, h, w] in 0..1
    "confidence",  # of labels: uint8 [H, W], 255 times the confidence; or float [H, W] in 0..1
    "batch_label",  # class ids that a teacher gave to the crops of one training batch, [B, H, W]
    "relation",  # a teacher's relations between the regions of one training batch
)


class MapWriter:
    """The open, still temporary store that `create_maps` yields."""

    def __init__(self, file: h5py.File):
        self._maps = file.create_group("maps")

    def write(self, image_id: str, array: np.ndarray, **attributes) -> None:
        """Store the map of one image.

        Each map is one gzip chunk, so that a reader decompresses exactly what it asks for.

        Args:
            image_id: key of the map; a second map with the same id is an error.
            array: of any shape; labels are uint8, others usually float16.
            attributes: numbers, strings or sequences of them. By convention `classes` are the mask ids 1..C in the
                order of the array's planes.
        """
        chunks = array.shape if array.size else None
        options = {"chunks": chunks, "compression": "gzip", "compression_opts": 4, "fletcher32": True} if chunks else {}
        dataset = self._maps.create_dataset(image_id, data=array, **options)
        for name, value in attributes.items():
            dataset.attrs[name] = value
        dataset.flush()  # otherwise h5py hides a failed write, which would only show when the dataset is closed


@contextmanager
def create_maps(
    path: str | Path,
    kind: str,
    *,
    producer: str,
    parameters: Mapping | None = None,
    inputs: Iterable[str | Path] = (),
) -> Iterator[MapWriter]:
    """Create a map store; it appears under `path` only when the block ends without an error.

    Args:
        kind: one of `KINDS`.
        producer: name of the rule that writes it.
        parameters: settings that determine the maps; anything JSON can hold.
        inputs: files that the maps are computed from; their SHA-256 is recorded.

    Yields:
        The writer of the maps.

    Raises:
        ValueError: another kind.
        InputError: the disk is full.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of map {kind!r}; choose one of {', '.join(KINDS)}")
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver=FORMAT) as file:
        write_attributes(file, kind, producer, parameters, inputs)
        yield MapWriter(file)
        file.attrs["complete"] = True


def merge_maps(shards: Iterable[str | Path], path: str | Path) -> None:
    """Write a store at `path` that refers to every map of `shards` (HDF5 external links; nothing is copied).

    Links are relative to the folder of `path`, so that the folder can be moved as a whole. All shards must have the
    same inputs, except for inputs that have the shard's own file name.

    Raises:
        InputError: a shard is unreadable, of another kind, or has other inputs or parameters than the first one; or two
            shards hold the same image id.
    """
    path = Path(path)
    shards = [Path(shard) for shard in shards]
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver=FORMAT) as merged:
        maps = merged.create_group("maps")
        first: dict[str, object] = {}
        for shard in shards:
            with open_maps(shard) as store:
                if "kind" not in merged.attrs:
                    for name, value in store.attributes.items():
                        merged.attrs[name] = value
                elif store.kind != merged.attrs["kind"]:
                    raise InputError(f"{shard}: holds {store.kind} maps, the other shards {merged.attrs['kind']}")
                for what, value in _origin(store).items():
                    if value != first.setdefault(what, value):
                        raise InputError(f"{shard}: was made {what} than {shards[0]}; delete both and run snakemake")
                target = os.path.relpath(shard, path.parent)
                for image_id in store:
                    if image_id in maps:
                        raise InputError(f"{shard}: image {image_id} is in another shard too; delete the shards")
                    maps[image_id] = h5py.ExternalLink(target, f"/maps/{image_id}")


def copy_maps(store: "Maps", path: str | Path, change: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
    """Write a store that holds all maps itself, so that it may be copied or sent alone.

    Args:
        store: merged or not.
        change: what each map becomes; None: they stay as they are.

    Raises:
        InputError: a map is damaged, its shard is missing, or the disk is full.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver=FORMAT) as file:
        for name, value in {**store.attributes, "inputs": json.dumps(store.inputs, sort_keys=True)}.items():
            file.attrs[name] = value
        del file.attrs["complete"]
        writer = MapWriter(file)
        for image_id in progress(store, "export"):
            array = store[image_id]
            writer.write(image_id, change(array) if change else array, **store.attributes_of(image_id))
        file.attrs["complete"] = True


def _origin(store: "Maps") -> dict[str, object]:
    """The origin that all shards of a store must share; keys complete the sentence "was made ..."."""
    inputs = json.loads(store.attributes["inputs"])
    return {
        "with other parameters": json.loads(store.attributes["parameters"]),
        "from other inputs": {digest for name, digest in inputs.items() if Path(name).name != store.path.name},
    }


class Maps(Mapping):
    """Read-only mapping from image id to array. Each process opens the file itself when it first reads.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._opened: dict[Path, h5py.File] = {}  # this file, and the shards that were read from
        self._process = os.getpid()

    @property
    def _handle(self) -> h5py.File:
        return self._open(self.path)

    def _open(self, path: Path) -> h5py.File:
        if self._process != os.getpid():  # forked: two processes must not share one HDF5 handle
            self._opened, self._process = {}, os.getpid()
        if path in self._opened:
            return self._opened[path]
        if path == self.path:
            self._opened[path] = open_store(path)
        else:
            self._check_shard(path)
            # Without the merged store Snakemake makes the shard again; while it exists, it does not.
            self._opened[path] = open_store(path, delete=f"{path} and {self.path}")
        return self._opened[path]

    def _check_shard(self, shard: Path) -> None:
        name = self.path.name
        check_readable(
            shard,
            f"no such shard, and {self.path} only refers to it; copy the shards to the same place beside the store, or "
            f"copy one file that `maskmill export --maps {name} --store whole.h5` makes where they are; if they are "
            f"lost, delete {self.path} and run again",
        )

    def check_first_shard(self) -> None:
        """Make sure that the maps of a merged store came with it.

        Raises:
            InputError: the shard with the first map is missing; the line says what to copy.
        """
        file = next((self._file_of(image_id) for image_id in self), self.path)
        if file != self.path:
            self._check_shard(file)

    @property
    def attributes(self) -> dict:
        """The root attributes: schema, kind, producer, parameters, inputs, versions. A merged store has those of its
        first shard."""
        return dict(self._handle.attrs)

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of the files that the maps of all shards were made from, by file name."""
        inputs: dict[str, str] = {}
        for file in self.files or [self.path]:
            inputs |= json.loads(self._open(file).attrs["inputs"])
        return inputs

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return self._handle.attrs["kind"]

    def __getitem__(self, image_id: str) -> np.ndarray:
        """The array of an image.

        Raises:
            KeyError: the store has no such image.
            InputError: the map is damaged, or its shard is missing.
        """
        with self._damage_named(image_id):
            return self._dataset(image_id)[()]

    def attributes_of(self, image_id: str) -> dict:
        """Attributes of one map, e.g. `classes` (mask ids of its planes); errors as for the map itself."""
        with self._damage_named(image_id):
            return dict(self._dataset(image_id).attrs)

    def _dataset(self, image_id: str) -> h5py.Dataset:
        if image_id not in self:
            raise KeyError(f"{self.path}: no map for image {image_id!r}")
        # The shard is opened here: HDF5 would look for one that is missing in the current folder too, and its error
        # does not tell a shard that is locked from one that is damaged.
        return self._open(self._file_of(image_id))["maps"][image_id]

    @property
    def files(self) -> dict[Path, int]:
        """The files that hold the maps, this one or shards, with the number of maps in each."""
        return dict(Counter(self._file_of(image_id) for image_id in self))

    def _file_of(self, image_id: str) -> Path:
        """The file that holds a map: this one, or a shard."""
        link = self._handle["maps"].get(image_id, getlink=True)
        if not isinstance(link, h5py.ExternalLink):
            return self.path
        shard = self.path.parent / link.filename
        # The store may be a link to a file elsewhere.
        return shard if os.path.lexists(shard) else self.path.resolve().parent / link.filename

    @contextmanager
    def _damage_named(self, image_id: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, KeyError) as error:  # h5py raises KeyError for every failure to open an object
            if image_id not in self:
                raise
            file, reason = self._file_of(image_id), str(error).strip("'\"")
            files = " and ".join(dict.fromkeys((str(file), str(self.path))))
            raise barred(file, error) or InputError(
                f"{file}: the map of {image_id} is damaged ({reason}); delete {files} and run again"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._handle["maps"])

    def __len__(self) -> int:
        return len(self._handle["maps"])

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._handle["maps"]

    def close(self) -> None:
        for file in self._opened.values():
            file.close()
        self._opened = {}

    def __enter__(self) -> "Maps":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def __getstate__(self) -> dict:
        return {"path": self.path, "_opened": {}, "_process": None}

    def __repr__(self) -> str:
        return f"<{self.kind} maps of {len(self)} images in {self.path}>"


def open_maps(path: str | Path) -> Maps:
    """Open a map store for reading: `open_maps(path)["2007_000063"]` is that image's array.

    Raises:
        InputError: the file is missing, cannot be opened now, is not a finished map store, of another schema, or a
            feature store; or a merged store came without its shards.
    """
    maps = Maps(path)
    if "maps" not in maps._handle:
        raise InputError(f"{path}: holds vectors of samples, one row each, not maps of images; give a map store")
    maps.check_first_shard()
    return maps


def open_labels(path: str | Path) -> Maps:
    """Open a map store of kind `label` for reading.

    Raises:
        InputError: as `open_maps`; or the store is of another kind.
    """
    store = open_maps(path)
    if store.kind != "label":
        raise InputError(f"{path}: holds {store.kind}, not labels; give a store of kind label, e.g. pseudo_labels.h5")
    return store


def check_holds(store: Maps, image_id: str) -> None:
    """Make sure that a store has a map of an image that a user asked for.

    Raises:
        InputError: names the store and some images that it holds.
    """
    if image_id not in store:
        some = ", ".join(itertools.islice(store, 3))
        raise InputError(f"{store.path}: no map of image {image_id}; it holds {len(store)} images: {some}, ...")


def check_origin(store: Maps, source: str | Path) -> None:
    """Make sure that a store was made from the present version of a file.

    Raises:
        InputError: the store was made from another version of the file, or without it.
    """
    if sha256(source) not in json.loads(store.attributes["inputs"]).values():
        raise InputError(f"{store.path}: was not made with {source} as it is now; delete the store and run snakemake")


def open_store(path: Path, delete: str = "it") -> h5py.File:
    """Open a finished map store or feature store for reading.

    Args:
        delete: what the line for a damaged file advises to delete.

    Raises:
        InputError: the file is missing, cannot be opened now, is damaged, not a finished store, or of another schema.
    """
    check_readable(path, "no such map store; run snakemake to make it")
    with ExitStack() as on_error:
        try:
            file = on_error.enter_context(h5py.File(path, "r"))
            attributes = dict(file.attrs)
            if "schema" not in attributes:
                raise InputError(f"{path}: not a map store; give one, or delete it and run again if a rule reads it")
            if not attributes.get("complete", False):
                raise InputError(f"{path}: an unfinished map store; delete {delete} and run again")
            [len(file[name]) for name in file]  # opening an object shows damage
        except (OSError, RuntimeError, KeyError) as error:
            raise barred(path, error) or InputError(
                f"{path}: not a readable HDF5 file (cut off by a kill, or damaged?); delete {delete} and run again"
            ) from None
        if attributes["schema"] != SCHEMA:
            found = attributes["schema"]
            raise InputError(
                f"{path}: map store of schema {found}, this version reads {SCHEMA}; delete {delete} and run again"
            )
        on_error.pop_all()
        return file


def write_attributes(file: h5py.File, kind: str, producer: str, parameters: Mapping | None, inputs: Iterable) -> None:
    """Write the attributes of a store's root, except `complete`; see `create_maps`."""
    file.attrs["schema"] = SCHEMA
    file.attrs["kind"] = kind
    file.attrs["producer"] = producer
    file.attrs["parameters"] = json.dumps(parameters or {}, sort_keys=True)
    file.attrs["inputs"] = json.dumps({str(path): sha256(path) for path in inputs}, sort_keys=True)
    file.attrs["versions"] = json.dumps({name: version(name) for name in ("h5py", "numpy", "torch")})


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
