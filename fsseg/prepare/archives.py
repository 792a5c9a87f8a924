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
        folder: folder that an archive of COCO unpacks to.
    """

    name: str
    url: str
    md5: str
    gigabytes: float
    folder: str = ""


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
