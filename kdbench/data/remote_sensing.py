"""Known data sets of aerial and satellite images, in the folders of their archives; none has an official split."""

from dataclasses import replace
from pathlib import Path

from kdbench.data.dataset import Dataset
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.downloads import downloaded
from kdbench.data.folder import load_folder
from kdbench.data.images import Side
from kdbench.data.kind import DatasetKind
from kdbench.errors import DataError


def make_kind(
    name: str,
    folders: tuple[str, ...],
    class_sizes: tuple[int, ...],
    side: int | None,
    *,
    archive: str,
    description: str,
    source: str,
) -> DatasetKind:
    """Return the kind of a data set with one folder per class in the first of `folders` (below the root) that exists.

    `class_sizes` are the numbers of images of the classes, by name; a fifth of each class is the test set. `side` is
    the height and width of the images in pixels, or None if they differ.
    """
    paths = " or ".join(f"{folder}/" for folder in folders)
    layout = f"a folder with {paths} that contains the {len(class_sizes)} class folders of {archive}"

    def load(*, root: str = "data", resize: Side = None, grayscale: bool = False) -> Dataset:
        existing = [path for folder in folders if (path := Path(root) / folder).exists()]
        path = existing[0] if existing else Path(root) / folders[0]
        if not path.is_dir():
            raise DataError(f"{path}: not a folder; required: {layout}")
        data = load_folder(root=str(path), resize=resize, grayscale=grayscale)
        if data.num_classes != len(class_sizes):
            raise DataError(
                f"{path}: {name} has {len(class_sizes)} classes, found {data.num_classes} class folders; "
                f"required: {layout}"
            )
        return data

    train_sizes = tuple(size * 4 // 5 for size in class_sizes)
    return DatasetKind(
        name=name,
        load=load,
        description=description,
        source=source,
        layout=layout,
        file_sets=tuple((folder,) for folder in folders),
        info=DatasetInfo(train_sizes, channels=3, side=side, test_size=sum(class_sizes) - sum(train_sizes)),
    )


def _download_eurosat(root: str) -> None:
    downloaded("EuroSAT", root, EUROSAT.layout, download=True)


EUROSAT = replace(
    make_kind(
        "eurosat",
        ("EuroSAT/2750", "eurosat/2750"),
        (3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000),
        64,
        archive="EuroSAT.zip (RGB)",
        description="27,000 Sentinel-2 satellite images, 64x64 RGB, 10 classes; downloaded",
        source="Helber et al., IEEE JSTARS 12(7), 2019, arXiv:1709.00029",
    ),
    download=_download_eurosat,
    archives=(("eurosat/EuroSAT.zip", "c8fa014336c82ac7804f0398fcb19387"),),
)
UC_MERCED = make_kind(
    "uc_merced",
    ("UCMerced_LandUse/Images",),
    (100,) * 21,
    None,
    archive="UCMerced_LandUse.zip",
    description="2,100 aerial images, about 256x256 RGB (set resize), 21 classes",
    source="Yang and Newsam, ACM SIGSPATIAL GIS 2010, doi:10.1145/1869790.1869829",
)
AID = make_kind(
    "aid",
    ("AID",),
    (
        *(360, 310, 220, 400, 360, 260, 240, 350, 410, 300, 370, 250, 390, 280, 290),
        *(340, 350, 390, 370, 420, 380, 260, 290, 410, 300, 300, 330, 290, 360, 420),
    ),
    600,
    archive="AID.zip",
    description="10,000 aerial images, 600x600 RGB, 30 classes",
    source="Xia et al., IEEE TGRS 55(7), 2017, arXiv:1608.05167",
)
NWPU_RESISC45 = make_kind(
    "nwpu_resisc45",
    ("NWPU-RESISC45",),
    (700,) * 45,
    256,
    archive="NWPU-RESISC45.rar",
    description="31,500 aerial images, 256x256 RGB, 45 classes",
    source="Cheng et al., Proceedings of the IEEE 105(10), 2017, arXiv:1703.00121",
)
