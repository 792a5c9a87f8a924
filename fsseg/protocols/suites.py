"""Protocols of suites whose codes have a rule of their own for episodes, with the source of each value."""

from fsseg.protocols.choice import Choice

_FSS1000 = {
    "split": Choice("val", "data/fss.py of HSNet and Matcher: classes of test.txt"),
    "pairs": Choice("any", "data/fss.py: all images of a class"),
    "release": Choice(2017, "as protocol fsseg: no COCO"),
    "fold_rule": Choice("interleaved", "as protocol fsseg: no COCO"),
    "masks": Choice("exact", "as protocol fsseg: no COCO"),
    "base_images": Choice("keep", "classes of training, validation and test share no image"),
    "support_void": Choice("ignore", "FSS-1000 has no void"),
    "void": Choice("ignore", "FSS-1000 has no void"),
    "size": Choice("trained", "the size belongs to the method: HSNet's is 400, Matcher's 518"),
    "mask_nearest": Choice("corner", "data/fss.py: F.interpolate, mode nearest"),
    "evaluate_at": Choice("input", "data/fss.py: masks resized like the images"),
    "runs": Choice(1, "test.py"),
    "episodes": Choice(2400, "data/fss.py: every image of the 240 test classes is the query once"),
    "seed": Choice(0, "test.py of HSNet: fix_randseed(0)"),
    "draw": Choice("fss1000", "data/fss.py: queries in the order of their paths, supports from the other nine"),
    "repeat_supports": Choice(True, "data/fss.py: compared with the query only"),
    "absent": Choice("count", "common/evaluation.py of HSNet"),
    "seen_classes": Choice("note", "PATNet tests a training on VOC on all 240 classes, bus and motorbike too"),
    "selection": Choice("base_val", "train.py of HSNet: the best on the classes of val.txt"),
}
_CDFSS = {
    "split": Choice("val", "data of PATNet: the whole set is tested"),
    "pairs": Choice("any", "data of PATNet: all images of a class; for SUIM, masks that are not empty"),
    "release": Choice(2017, "as protocol fsseg: no COCO"),
    "fold_rule": Choice("interleaved", "as protocol fsseg: no COCO"),
    "masks": Choice("exact", "as protocol fsseg: no COCO"),
    "base_images": Choice("keep", "no training on these sets"),
    "support_void": Choice("ignore", "the sets have no void"),
    "void": Choice("ignore", "the sets have no void"),
    "size": Choice("trained", "the size belongs to the method: PATNet's is 400, INSID3's 1,024"),
    "mask_nearest": Choice("corner", "data of PATNet: F.interpolate, mode nearest"),
    "evaluate_at": Choice("input", "data of PATNet: masks resized like the images"),
    "runs": Choice(1, "test.py of PATNet"),
    "episodes": Choice(600, "data of PATNet: num; ABCDFSS and INSID3 test as many on SUIM as it has masks", suim=3859),
    "seed": Choice(0, "test.py of PATNet: fix_randseed(0)"),
    "draw": Choice("cdfss", "data of PATNet: classes in turn, query and supports at random"),
    "repeat_supports": Choice(True, "data of PATNet: compared with the query only"),
    "absent": Choice("count", "common/evaluation.py, as HSNet's"),
    "seen_classes": Choice("note", "test.py of PATNet: no check"),
    "selection": Choice("last", "train.py of PATNet: the best on FSS-1000's validation, which is another data set"),
}
SUITES: dict[str, dict[str, Choice]] = {"fss1000": _FSS1000, "cdfss": _CDFSS}
