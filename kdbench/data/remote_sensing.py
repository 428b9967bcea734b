"""Known sets of land seen from above, in the folders of their original archives; none has an official split."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

from kdbench.data.dataset import DataSet
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.downloads import Archives, downloaded
from kdbench.data.folder import folder
from kdbench.data.images import Side
from kdbench.errors import DataError


@final
@dataclass(frozen=True)
class Land:
    """What a set is, and where its folders of classes lie below the root."""

    name: str
    class_sizes: tuple[int, ...]  # before a fifth is held out; classes in the order of their names
    side: int | None  # pixels; None where the images differ in size
    places: tuple[str, ...]  # the first one that is there is read
    layout: str
    description: str
    source: str
    original: str = ""  # the name of torchvision's class, where there is one that downloads it
    archives: Archives = ()

    @property
    def load(self) -> Callable[..., DataSet]:
        """Reads the set, a fifth of each class for the test."""

        def load(*, root: str = "data", resize: Side = None, grayscale: bool = False) -> DataSet:
            there = [place for name in self.places if (place := Path(root) / name).exists()]
            path = there[0] if there else Path(root) / self.places[0]
            if not path.is_dir():
                raise DataError(f"{path}: it is not a folder; needed: {self.layout}")
            data = folder(root=str(path), resize=resize, grayscale=grayscale)
            classes = len(self.class_sizes)
            if data.num_classes != classes:
                raise DataError(
                    f"{path}: {self.name} has {classes} classes, but here are folders for {data.num_classes}; "
                    f"needed: {self.layout}"
                )
            return data

        return load

    @property
    def fetch(self) -> Callable[[str], None] | None:
        """Downloads it into the folder `root`, where it can be downloaded."""
        return partial(downloaded, self.original, layout=self.layout, download=True) if self.original else None

    @property
    def info(self) -> DatasetInfo:
        """What is known of the set: every class can be divided by five."""
        return DatasetInfo(tuple(size * 4 // 5 for size in self.class_sizes), channels=3, side=self.side)


EUROSAT = Land(
    "eurosat",
    (3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000),
    64,
    ("EuroSAT/2750", "eurosat/2750"),
    "a folder with EuroSAT/2750/ or eurosat/2750/, and in it the 10 folders of classes of EuroSAT.zip (RGB)",
    "27,000 Sentinel-2 images, 64x64 RGB, 10 classes; downloaded",
    "Helber, Bischke, Dengel, Borth, IEEE JSTARS 12(7), 2019, arXiv:1709.00029",
    original="EuroSAT",
    archives=(("eurosat/EuroSAT.zip", "c8fa014336c82ac7804f0398fcb19387"),),
)
UC_MERCED = Land(
    "uc_merced",
    (100,) * 21,
    None,
    ("UCMerced_LandUse/Images",),
    "a folder with UCMerced_LandUse/Images/, and in it the 21 folders of classes of the archive UCMerced_LandUse.zip",
    "2,100 aerial images, about 256x256 RGB (needs resize), 21 classes",
    "Yang, Newsam, ACM SIGSPATIAL GIS 2010, doi:10.1145/1869790.1869829",
)
AID = Land(
    "aid",
    (
        *(360, 310, 220, 400, 360, 260, 240, 350, 410, 300, 370, 250, 390, 280, 290),
        *(340, 350, 390, 370, 420, 380, 260, 290, 410, 300, 300, 330, 290, 360, 420),
    ),
    600,
    ("AID",),
    "a folder with AID/, and in it the 30 folders of classes of the archive AID.zip",
    "10,000 aerial images, 600x600 RGB, 30 classes",
    "Xia et al., IEEE TGRS 55(7), 2017, arXiv:1608.05167",
)
NWPU_RESISC45 = Land(
    "nwpu_resisc45",
    (700,) * 45,
    256,
    ("NWPU-RESISC45",),
    "a folder with NWPU-RESISC45/, and in it the 45 folders of classes of the archive NWPU-RESISC45.rar",
    "31,500 aerial images, 256x256 RGB, 45 classes",
    "Cheng, Han, Lu, Proceedings of the IEEE 105(10), 2017, arXiv:1703.00121",
)
