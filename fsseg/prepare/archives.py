"""URLs and checksums of the official archives."""

from typing import NamedTuple

from fsseg.protocols.protocol import Year


class Archive(NamedTuple):
    """A file on the authors' server.

    Attributes:
        name: file name.
        url: address of the file.
        md5: published checksum. MD5 detects damage but no attack, so extraction treats every archive as untrusted.
        gigabytes: approximate size.
        folder: folder that an archive of COCO or ISIC unpacks to.
        sha256: checksum, where no MD5 is published.
    """

    name: str
    url: str
    md5: str
    gigabytes: float
    folder: str = ""
    sha256: str = ""

    @property
    def checksum(self) -> str:
        """The checksum that is verified."""
        return self.md5 or self.sha256


VOC = Archive(
    "VOCtrainval_11-May-2012.tar",
    "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "6cd6e144f989b92b3379bac3b3de84fd",
    2.0,
)
SBD = Archive(
    "benchmark.tgz",
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    "82b4d87ceb2ed10f6038a1cba92111cb",
    1.4,
)

_COCO = "http://images.cocodataset.org"
COCO: dict[Year, tuple[Archive, ...]] = {
    2017: (
        Archive("annotations_trainval2017.zip", f"{_COCO}/annotations/annotations_trainval2017.zip",
                "f4bbac642086de4f52a3fdda2de5fa2c", 0.25, "annotations"),
        Archive("val2017.zip", f"{_COCO}/zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", 0.8, "val2017"),
        Archive("train2017.zip", f"{_COCO}/zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", 19.3, "train2017"),
    ),
    2014: (
        Archive("annotations_trainval2014.zip", f"{_COCO}/annotations/annotations_trainval2014.zip",
                "0a379cfc70b0e71301e0f377548639bd", 0.25, "annotations"),
        Archive("val2014.zip", f"{_COCO}/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3", 6.6, "val2014"),
        Archive("train2014.zip", f"{_COCO}/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88", 13.5, "train2014"),
    ),
}  # fmt: skip

# Addresses and checksums are those of tensorflow/datasets, tensorflow_datasets/object_detection/lvis/checksums.tsv; the
# images are COCO's of 2017.
_LVIS = "https://dl.fbaipublicfiles.com/LVIS"
LVIS = (
    Archive("lvis_v1_val.json.zip", f"{_LVIS}/lvis_v1_val.json.zip", "", 0.2, "annotations",
            "5cae9a3c79aadb667550c2b5dcf7f4d86e059a41ec91ef690225b667e28e9ba5"),
    Archive("lvis_v1_train.json.zip", f"{_LVIS}/lvis_v1_train.json.zip", "", 1.1, "annotations",
            "334a4caa374030a7817cf050364525e910f7960f9b6968cef47cffbf3893f8ba"),
    *COCO[2017][1:],
)  # fmt: skip

# Addresses and checksums are those of constantinpape/torch-em, torch_em/data/datasets/medical/isic.py.
_ISIC = "https://isic-challenge-data.s3.amazonaws.com/2018"
ISIC2018 = (
    Archive("ISIC2018_Task1_Training_GroundTruth.zip", f"{_ISIC}/ISIC2018_Task1_Training_GroundTruth.zip", "", 0.03,
            "ISIC2018_Task1_Training_GroundTruth",
            "99f8b2bb3c4d6af483362010715f7e7d5d122d9f6c02cac0e0d15bef77c7604c"),
    Archive("ISIC2018_Task1-2_Training_Input.zip", f"{_ISIC}/ISIC2018_Task1-2_Training_Input.zip", "", 11.0,
            "ISIC2018_Task1-2_Training_Input",
            "80f98572347a2d7a376227fa9eb2e4f7459d317cb619865b8b9910c81446675f"),
)  # fmt: skip
