"""`fsseg import`: files in the layout of the authors' codes, made from the golden recipe, give the golden logits."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.methods import Method
from fsseg.official_codes import CODES, code_of
from fsseg.segmenter.persistence import load
from fsseg.untrusted.card import read_card
from tests.golden.recipe import fill
from tests.oracle_weights import close, episodes, first_shot, given_case, low_resolution, one_way

GOLDEN = Path(__file__).parents[1] / "golden"
Stored = dict[str, np.ndarray]


class Stages(Encoder):
    """Features of a golden case with a narrow head; the encoder has no weights."""

    name = "given"
    stride = 8
    widths = (96,)

    def __init__(self) -> None:
        super().__init__(mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)
        with np.load(GOLDEN / "rpmms_head_small_b.npz") as stored:
            self.maps, _ = given_case(stored)

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.maps.features(images)


NARROW = """
model:
  method:
    class_path: RPMMs
    init_args: {encoder: {class_path: tests.cli.test_import.Stages}, channels: 16}
data: {dataset: {class_path: Pascal}}
trainer: {max_steps: 1}
"""


def official(manifest: str, stored: Stored | None = None) -> dict[str, Tensor]:
    """Tensors of a golden case by their official names."""
    rows = json.loads((GOLDEN / f"{manifest}_manifest.json").read_text())
    state = {name: torch.from_numpy(fill(shape, kind, seed)) for _, name, shape, kind, seed in rows}
    if stored is not None and "decoder_bias" in stored:
        state["hpn_learner.decoder2.2.bias"] = torch.from_numpy(stored["decoder_bias"])
    if stored is not None and "head_weight_scale" in stored:
        for name in ("cls.3.weight", *(f"inner_cls.{i}.3.weight" for i in range(4))):
            state[name] *= float(stored["head_weight_scale"])
    return state


def save(state: dict[str, Tensor], path: Path, key: str = "state_dict") -> Path:
    """A file as DataParallel and a training leave it: a prefix, the optimiser's momentum and a step beside."""
    parallel = {f"module.{name}": value for name, value in state.items()}
    momentum = {0: {"momentum_buffer": torch.zeros(3)}}
    optimiser = {"state": momentum, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    torch.save({"epoch": 3, key: parallel, "optimizer": optimiser}, path)
    return path


class Case(NamedTuple):
    """A file, the options of its import, and what its method gives: logits, golden logits, their tolerance."""

    code: str
    manifest: str
    options: tuple[str, ...]
    compare: Callable[[Method, Stored], tuple[Tensor, np.ndarray]]
    tolerance: float
    stored: str = ""


def with_start(method: Method, stored: Stored) -> Method:
    """The code draws the mixtures' start anew in every pass; the golden case says which one it drew."""
    if hasattr(method, "mixture"):
        method.mixture.start.copy_(torch.from_numpy(stored["mu0_k3"])[0].T)
    else:
        for mixture, components in zip(method.mixtures, stored["num_pro"], strict=True):
            mixture.start.copy_(torch.from_numpy(stored[f"mu0_k{components}"])[0].T)
    return method


def of_pmms(method: Method, stored: Stored) -> tuple[Tensor, np.ndarray]:
    batch = one_way(stored["images_u8"], stored["support_label"][None], stored["query_label"][None])
    return low_resolution(with_start(method, stored), batch)[:, 0], stored["eval_out"]


def of_rpmms(method: Method, stored: Stored) -> tuple[Tensor, np.ndarray]:
    _, five = given_case(stored)
    return low_resolution(with_start(method, stored), first_shot(five))[:, 0], stored["eval_out2"]


def of_panet(method: Method, stored: Stored) -> tuple[Tensor, np.ndarray]:
    images = stored["images_u8"][::-1].copy()  # the query is the last one
    labels = torch.from_numpy(np.stack([stored["query_label"], stored["support_label"] % 255]))  # void is background
    batch = queries_first(torch.from_numpy(images).movedim(-1, 1)[None], labels[None])
    return method(batch)[0, :, :, ::4, ::4], stored["query_pred_sub"]


def of_canet(method: Method, stored: Stored) -> tuple[Tensor, np.ndarray]:
    batch = one_way(stored["images_u8"], stored["support_label"][None], stored["query_label"][None])
    return method(batch)[:, 0, :, ::8, ::8], stored["pred_iter3"]


def queries_first(images: Tensor, labels: Tensor) -> Batch:
    """One-shot episodes whose image 0 is the query and image 1 the support."""
    return episodes(images[:, None, 1:2], labels[:, None, 1:2], images[:, :1], labels[:, :1])


def of_hsnet(method: Method, stored: Stored) -> tuple[Tensor, np.ndarray]:
    labels = (torch.from_numpy(stored["labels"]) == 1).byte()
    batch = queries_first(torch.from_numpy(stored["images_u8"]).movedim(-1, 2), labels)
    return method(batch)[:, 0, :, ::8, ::8], stored["logit_sub"]


def of_pfenet(method: Method, stored: Stored) -> tuple[Tensor, np.ndarray]:
    batch = queries_first(torch.from_numpy(stored["images_u8"]).movedim(-1, 2), torch.from_numpy(stored["labels"]))
    support, query = method.features(batch)
    state = method.adapt(support, batch.support_mask)
    logits = method.segment_resized(state, query, batch.encoded_size, batch.query_size)
    return logits[:, 0, :, ::4, ::4], stored["s1_eval_out_sub"]


BINS = "--model.method.bins=[1,0.5,0.25,0.125]"
CASES = {
    "rpmms": Case("rpmms", "rpmms_head_small_b", ("--config", "narrow.yaml"), of_rpmms, 3e-4),
    "panet": Case("panet", "panet_vgg", (), of_panet, 2e-4, "panet_whole_vgg_97"),
    "canet": Case("canet", "canet_full_129", ("--model.method.iterations=3",), of_canet, 3e-4),
    "pmms-vgg16": Case("pmms", "pmms_full_vgg16_129", (), of_pmms, 5e-4),
    "pmms-resnet50": Case("pmms", "pmms_full_resnet50_129", (), of_pmms, 5e-4),
    "hsnet-vgg16": Case("hsnet", "hsnet_full_vgg16_129", (), of_hsnet, 2e-5),
    "hsnet-resnet50": Case("hsnet", "hsnet_full_resnet50_257", (), of_hsnet, 2e-5),
    "pfenet-vgg16": Case("pfenet", "pfenet_full_vgg16_129", (), of_pfenet, 5e-5),
    "pfenet-resnet50": Case("pfenet", "pfenet_full_resnet50_129", (BINS,), of_pfenet, 5e-5),
}


@pytest.mark.parametrize("name", CASES)
def test_an_imported_file_gives_the_golden_logits(
    fsseg: Any, oracle: Callable[[str], Stored], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    monkeypatch.setenv("FSSEG_TRUST", "tests.cli.test_import")
    stored = oracle(case.stored or case.manifest)
    Path("narrow.yaml").write_text(NARROW)
    state = official(case.manifest, stored)
    path = save(state, Path("best.pth.tar"))
    ran = fsseg("import", str(path), "--as", case.code, "--data.fold=2", *case.options)
    assert ran.code == 0, ran.err
    assert f"{len(state)} tensors of best.pth.tar in best.ckpt" in ran.out
    card = read_card("best.ckpt")
    assert (card.dataset, card.fold, len(card.trained_on), card.step) == ("PASCAL-5i", 2, 15, 0)
    assert "diningtable" not in card.trained_on
    assert card.selection == ("last" if case.code == "panet" else "novel_val")
    assert card.origin is not None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (card.origin.code, card.origin.file, card.origin.sha256) == (CODES[case.code].paper, path.name, digest)
    method = load(Path("best.ckpt"), "cpu").method.eval()
    with torch.no_grad():
        logits, expected = case.compare(method, stored)
    close(logits, expected, case.tolerance)


# Files that are refused


@pytest.fixture
def narrow(tmp_path: Path) -> dict[str, Tensor]:
    """Tensors of a small file of RPMMs, and its experiment in narrow.yaml."""
    (tmp_path / "narrow.yaml").write_text(NARROW)
    return official("rpmms_head_small_b")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_file_tells_which_code_wrote_it(case: Case) -> None:
    rows = json.loads((GOLDEN / f"{case.manifest}_manifest.json").read_text())
    assert code_of([name for _, name, *_ in rows]) == case.code


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layer9.bias"), r"lacks 1 tensors \(decoder.classify.bias\)"),
        (lambda state: state.update({"new.0": torch.zeros(1)}), r"has unknown 1 tensors \(new.0\)"),
        (
            lambda state: state.update({"layer9.bias": torch.zeros(21)}),
            r"has other shapes for 1 tensors \(decoder.classify.bias is 21 in the file, 2 in the method\)",
        ),
        (lambda state: state.update({"layer9.bias": torch.tensor([1.0, torch.nan])}), "is not finite numbers"),
        (lambda state: state.update({"layer9.bias": torch.zeros(2, dtype=torch.cfloat)}), "is not finite numbers"),
        (lambda state: state.update({"hpn_learner.decoder1.0.bias": state.pop("layer6.layer6_0.0.bias")}), "lacks 1"),
    ],
)
def test_files_that_do_not_fit(
    fsseg: Any, narrow: dict[str, Tensor], change: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    change(narrow)
    save(narrow, Path("file.pth"))
    ran = fsseg("import", "file.pth", "--as", "rpmms", "--config", "narrow.yaml")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1), ran.err
    assert re.search(message, ran.line), ran.line
    assert not Path("file.ckpt").exists()


def test_wrapped_and_bare_files_are_the_same(fsseg: Any, narrow: dict[str, Tensor]) -> None:
    save(narrow, Path("wrapped.pth"), key="model")
    torch.save(narrow, "bare.pth")
    for name in ("wrapped", "bare"):
        ran = fsseg("import", f"{name}.pth", "--as", "rpmms", "--config", "narrow.yaml", "--selection", "last")
        assert ran.code == 0, ran.err
    states = [torch.load(f"{name}.ckpt", weights_only=True)["state_dict"] for name in ("wrapped", "bare")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])
    assert read_card("bare.ckpt").selection == "last"


def test_wrong_words_are_one_line(fsseg: Any, narrow: dict[str, Tensor]) -> None:
    save(narrow, Path("file.pth"))
    save({"hpn_learner.decoder1.0.bias": torch.zeros(2)}, Path("hsnet.pt"))
    Path("text.pth").write_text("no checkpoint")
    Path("there.ckpt").touch()
    arguments = ("--as", "rpmms", "--config", "narrow.yaml")
    for words, message in (
        (("file.pth",), "import: --as METHOD is needed: pmms, rpmms"),
        (("file.pth", "--as", "pfnet"), "Did you mean pfenet"),
        (("gone.pth", *arguments), "gone.pth: no such file"),
        (("text.pth", *arguments), "text.pth cannot be read"),
        (("file.pth", *arguments, "--out", "there.ckpt"), "--out there.ckpt exists"),
        (("file.pth", *arguments, "--data.fold=4"), "fold 4"),
        (("file.pth", *arguments, "--data.folt=1"), "folt"),
        (("file.pth", *arguments, "--ckpt_path=there.ckpt"), "--ckpt_path is an option of a training"),
        (("file.pth", "--as", "hsnet"), "looks like a file of RPMMs's code, not of HSNet's: give --as rpmms"),
        (("hsnet.pt", "--as", "panet"), "looks like a file of HSNet's code, not of PANet's: give --as hsnet"),
    ):
        ran = fsseg("import", *words)
        assert (ran.code, len(ran.err.splitlines())) == (2, 1), ran.err
        assert message in ran.line


# What is done with the checkpoint


@pytest.fixture
def _unchecked_shapes() -> Iterator[None]:
    """Sizes are symbols while a graph is traced, and no int; the checks are of the tests alone."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.slow
@pytest.mark.usefixtures("_unchecked_shapes")
def test_an_imported_checkpoint_is_tested_exported_and_no_training_resumes(fsseg: Any, fake_voc: Path) -> None:
    save(official("panet_vgg"), Path("30000.pth"))
    assert fsseg("import", "30000.pth", "--as", "panet", "--out", "run/panet.ckpt").code == 0
    small = ("--data.images.size=33", "--data.loading.workers=0", "--trainer.accelerator=cpu")
    words = ("--ckpt_path", "run/panet.ckpt", f"--data.root={fake_voc}", *small)
    ran = fsseg("test", *words, "--protocol.pairs=any", "--protocol.runs=1", "--protocol.episodes=2")
    assert ran.code == 0, ran.err
    digest = hashlib.sha256(Path("30000.pth").read_bytes()).hexdigest()[:12]
    assert f"imported from 30000.pth of PANet's code, SHA-256 {digest}, last" in " ".join(ran.out.split())
    assert "weights were trained by PANet's code" in ran.out
    ran = fsseg("test", *words, "--data.fold=1")
    assert (ran.code, "has seen" in ran.line) == (2, True)
    ran = fsseg("fit", *words)
    assert (ran.code, "is imported, without an optimiser" in ran.line) == (2, True), ran.line
    assert fsseg("export", "--ckpt_path", "run/panet.ckpt", "--to", "torch", "--size", "33").code == 0
    ran = fsseg("import", "run/panet.ckpt", "--as", "panet", "--out", "again.ckpt")
    assert (ran.code, "is a checkpoint of fsseg" in ran.line) == (2, True), ran.line
