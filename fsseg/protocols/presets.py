"""Protocols by name: ours and those of five official codes, with the source of each value.

A value may differ on PASCAL-5i and COCO-20i, as in some codes. Other data sets have the common value. Protocols of
single suites are in `fsseg.protocols.suites`.
"""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from fsseg.errors import FssegError
from fsseg.protocols.choice import Choice
from fsseg.protocols.protocol import Name, Protocol
from fsseg.protocols.suites import SUITES

_FSSEG = {
    "split": Choice("val", "no image of a training list is tested"),
    "pairs": Choice("any", "on PASCAL-5i the lists that PMMs and HSNet share, nearly OSLSM's size rule", "official"),
    "release": Choice(2017, "the current release; train and val share no image"),
    "fold_rule": Choice("interleaved", "FWB; nearly all work on COCO-20i since"),
    "masks": Choice(
        "exact", "pycocotools' annToMask, one mask per class: 9.5 % of COCO's labelled pixels have several"
    ),
    "base_images": Choice("keep", "most codes; an object of a novel class is background in training"),
    "support_void": Choice("ignore", "void is where annotators were not sure"),
    "void": Choice("ignore", "void is where annotators were not sure"),
    "size": Choice("trained", "the size belongs to the method"),
    "evaluate_at": Choice("original", "the size of the mask that a user needs"),
    "runs": Choice(5, "several runs give a standard deviation"),
    "episodes": Choice(1000, "4,000 on COCO-20i, where 1,000 vary too much (BAM issue 42)", coco=4000),
    "seed": Choice(1234, "arbitrary; the seed of PANet's config.py"),
    "draw": Choice("seeded", "the same for any number of workers, processes and GPUs"),
    "repeat_supports": Choice(False, "five shots are five images"),
    "absent": Choice("count", "a false alarm is an error"),
    "selection": Choice("last", "choosing by novel classes needs their labels"),
}
_PANET = {
    "split": Choice("train", "config.py: data_split trainaug, and train2014 on COCO, also in test.py"),
    "pairs": Choice("any", "util/voc_classwise_filenames.py: any size"),
    "release": Choice(2014, "config.py: train2014"),
    "fold_rule": Choice("contiguous", "util/utils.py: CLASS_LABELS"),
    "masks": Choice("exact", "dataloaders/coco.py: annToMask, crowds included"),
    "other_ways": Choice("labelled", "customized.py: on COCO an image has its own way's label only", coco="background"),
    "base_images": Choice("keep", "no filter in the code"),
    "support_void": Choice("background", "customized.py: getMask"),
    "void": Choice("ignore", "util/metric.py"),
    "size": Choice(417, "config.py: input_size"),
    "evaluate_at": Choice("input", "test.py: labels resized to 417 too"),
    "runs": Choice(5, "test.py: n_runs"),
    "episodes": Choice(1000, "test.py: n_iter, section 4.1"),
    "seed": Choice(1234, "config.py: seed; run r has seed + r"),
    "draw": Choice("panet", "dataloaders/common.py and customized.py"),
    "repeat_supports": Choice(False, "random.sample"),
    "absent": Choice("drop", "util/metric.py: a class that an image lacks is left out of that image"),
    "selection": Choice("last", "test.py: snapshot 30000"),
}  # fmt: skip
_PMMS = {
    "split": Choice("val", "data_list/val; val2017 on COCO"),
    "pairs": Choice("any", "data_list on PASCAL-5i, nearly OSLSM's size rule; no filter on COCO", "official"),
    "release": Choice(2017, "data/coco_val.py"),
    "fold_rule": Choice("interleaved", "data/coco_val.py"),
    "masks": Choice("first_polygon_convex", "data/coco_val.py: get_mask, support and truth"),
    "base_images": Choice("drop", "data/voc_train.py; commented out in data/coco_train.py", coco="keep"),
    "support_void": Choice("background", "data/voc_val.py: 255 to 0"),
    "void": Choice("background", "data/voc_val.py: 255 to 0"),
    "size": Choice(481, "test.py"),
    "evaluate_at": Choice("original", "test.py; its masks are resized to 481 and back first: `resampled`"),
    "runs": Choice(1, "test.py"),
    "episodes": Choice(1000, "test.py"),
    "seed": Choice(1385, "data/voc_val.py; on COCO the code sets none, and its author advises this one (issue 14)"),
    "draw": Choice("pmms", "data/voc_val.py: a walk of the list; on COCO classes are uniform", coco="seeded"),
    "repeat_supports": Choice(False, "data/voc_val.py"),
    "absent": Choice("count", "utils/NoteEvaluation.py"),
    "selection": Choice("novel_val", "test_all_frame.py: the best of 40 snapshots on each fold's test classes"),
}  # fmt: skip
_PFENET = {
    "split": Choice("val", "config: val_list"),
    "pairs": Choice("any", "util/dataset.py: by area instead"),
    "min_pixels": Choice(2048, "util/dataset.py: 2 * 32 * 32"),
    "release": Choice(2014, "config/coco"),
    "fold_rule": Choice("interleaved", "config/coco: use_split_coco True"),
    "masks": Choice("first_polygon_map", "label maps made by a script: first polygon, one class per pixel"),
    "base_images": Choice("keep", "util/dataset.py"),
    "support_void": Choice("ignore", "util/dataset.py: 255 stays"),
    "void": Choice("ignore", "test.py: ignore_label"),
    "size": Choice(473, "config/pascal; 641 in config/coco", coco=641),
    "resize": Choice("pad", "util/transform.py: OpenCV, sides to a multiple of 8, the rest black and ignored"),
    "evaluate_at": Choice("original", "config: ori_resize True"),
    "runs": Choice(1, "test.py"),
    "episodes": Choice(5001, "test.py: test_num 5,000, compared after one more; 20,001 on COCO", coco=20001),
    "seed": Choice(321, "config: manual_seed"),
    "draw": Choice("pfenet", "util/dataset.py: a walk of the images, a class of each at random, with eight workers"),
    "repeat_supports": Choice(False, "util/dataset.py"),
    "absent": Choice("count", "test.py"),
    "selection": Choice("novel_val", "train.py: the best class_miou on the novel classes (issue 9)"),
}
_HSNET = {
    "split": Choice("val", "data/pascal.py, data/coco.py"),
    "pairs": Choice("any", "data/splits, on PASCAL-5i PMMs' lists; on COCO by no rule that is stated", "official"),
    "release": Choice(2014, "data/coco.py"),
    "fold_rule": Choice("interleaved", "data/coco.py"),
    "masks": Choice("exact", "the code reads label maps whose making is not documented; here they are exact"),
    "base_images": Choice("keep", "data/pascal.py"),
    "support_void": Choice("background", "data/pascal.py: extract_ignore_idx"),
    "void": Choice("ignore", "data/pascal.py: query_ignore_idx"),
    "size": Choice(400, "test.py: img_size"),
    "mask_nearest": Choice("corner", "data/pascal.py, data/coco.py: F.interpolate, mode nearest"),
    "evaluate_at": Choice("input", "data/pascal.py, unless --use_original_imgsize"),
    "runs": Choice(1, "test.py"),
    "episodes": Choice(1000, "data/pascal.py, data/coco.py: __len__"),
    "seed": Choice(0, "test.py: fix_randseed(0)"),
    "draw": Choice("hsnet", "data/pascal.py: a walk of the list, in order; data/coco.py: classes are uniform"),
    "repeat_supports": Choice(True, "data/pascal.py, data/coco.py: compared with the query only"),
    "absent": Choice("count", "common/evaluation.py"),
    "selection": Choice("novel_val", "train.py: the best validation on the novel classes (issue 20)"),
}  # fmt: skip
_OSLSM = {
    "split": Choice("val", "ss_settings.py: val of VOC 2012"),
    "pairs": Choice("any", "ss_datalayer.py: its size rule, as the lists have it; no COCO in the code", "official"),
    "release": Choice(2017, "as protocol fsseg: no COCO in the code"),
    "fold_rule": Choice("interleaved", "as protocol fsseg: no COCO in the code"),
    "masks": Choice("exact", "as protocol fsseg: no COCO in the code"),
    "base_images": Choice("keep", "ss_datalayer.py: other classes are background"),
    "support_void": Choice("background", "ss_datalayer.py: 1 on the class, 0 elsewhere"),
    "void": Choice("background", "ss_datalayer.py: 1 on the class, 0 elsewhere"),
    "size": Choice(500, "test.py: queries; the network resizes supports to 224"),
    "evaluate_at": Choice("input", "test.py: masks resized to 500 too"),
    "runs": Choice(1, "test.py"),
    "episodes": Choice(1000, "test.py"),
    "seed": Choice(1385, "the seed of the data layer's generator"),
    "draw": Choice("oslsm", "ss_datalayer.py and util.py under Python 2: a walk of the shuffled pairs"),
    "repeat_supports": Choice(False, "ss_datalayer.py"),
    "absent": Choice("count", "test.py: sums of TP, FP and FN of each class"),
    "selection": Choice("last", "unknown"),
}
PRESETS: dict[str, dict[str, Choice]] = {
    "fsseg": _FSSEG, "panet": _PANET, "pmms": _PMMS, "pfenet": _PFENET, "hsnet": _HSNET,
    "oslsm": _OSLSM,
}  # fmt: skip
NAMES: tuple[Name, ...] = ("fsseg", "panet", "pmms", "pfenet", "hsnet", "oslsm")  # for any data set
KNOWN = {**PRESETS, **SUITES}


def protocol(asked: Mapping[str, Any], family: str) -> Protocol:
    """A named protocol with some fields changed.

    Args:
        asked: values by field; other fields, and fields that are None, have the value of the named protocol. The name
            is ``fsseg`` by default.
        family: family of the data set, see `fsseg.datasets.Dataset`.

    Raises:
        FssegError: unknown protocol or field, a value out of range, or values that exclude each other.
    """
    known = [field.name for field in fields(Protocol)]
    for field in asked:
        if field not in known:
            near = get_close_matches(field, known, n=1)
            raise FssegError(f"no option `protocol.{field}`.{f' Did you mean `protocol.{near[0]}`?' if near else ''}")
    name = asked.get("name") or "fsseg"
    if name not in KNOWN:
        raise FssegError(f"`protocol.name` {name}: one of {', '.join(KNOWN)} is needed.")
    values = {field: choice.on(family) for field, choice in KNOWN[name].items()}
    return Protocol(**{**values, **{k: v for k, v in asked.items() if v is not None}, "name": name})
