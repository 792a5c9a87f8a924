"""Names of encoders in configurations: in files and on the command line, and over other encoders."""

import pytest
import yaml

from fsseg.encoders import NAMES
from tests.conftest import SHARED

SQUEEZENET = SHARED / "weights" / "squeezenet1_0_deepcompression.pth"
FILE = """
model: {{method: {{class_path: PANet, init_args: {{encoder: {encoder}}}}}}}
data: {{dataset: {{class_path: Shapes}}}}
"""
GIVEN = "{class_path: resnet18, init_args: {weights: F.pth, stride: 16}}"
JSON = '{"class_path": "resnet18", "init_args": {"weights": "F.pth", "stride": 16}}'


def dropped(new):
    return (
        f"note: {new} replaces resnet18, whose arguments are dropped: weights F.pth, stride 16. Give {new} its own.\n"
    )


@pytest.fixture
def configured(fsseg, tmp_path):
    """The encoder of a configuration file under flags, and what was said."""

    def configure(encoder, *flags, method="model.method.init_args.encoder"):
        (tmp_path / "file.yaml").write_text(FILE.format(encoder=encoder))
        ran = fsseg("fit", "--config", "file.yaml", *flags, "--print_config")
        assert ran.code == 0, ran.err
        found = yaml.safe_load(ran.out)
        for key in method.split("."):
            found = found[key]
        return found["class_path"].rpartition(".")[2], found["init_args"], ran.err

    return configure


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_its_class_with_its_arguments(name, configured):
    for encoder, flags in ((name, ()), ("VGG16", ("--model.method.encoder", name))):
        kind, arguments, said = configured(encoder, *flags)
        entry = NAMES[name]
        assert kind == entry.kind.__name__
        assert {key: arguments[key] for key in entry.arguments} == {
            key: list(value) if isinstance(value, tuple) else value for key, value in entry.arguments.items()
        }
        frozen = entry.arguments.get("frozen", False)
        assert (arguments["weights"], arguments["frozen"], said) == ("pretrained", frozen, "")


@pytest.mark.parametrize(
    ("encoder", "flags"),
    [
        (GIVEN, ()),
        ("resnet18", ("--model.method.encoder.weights", "F.pth", "--model.method.encoder.stride=16")),
        ("VGG16", ("--model.method.encoder=resnet18", "--model.method.encoder.weights=F.pth",
                   "--model.method.encoder.stride", "16")),
        ("VGG16", ("--model.method.encoder", JSON)),
        (GIVEN, ("--model.method.encoder", "resnet18")),  # the same name again
    ],
)  # fmt: skip
def test_arguments_beside_a_name_override_its_own(encoder, flags, configured):
    kind, arguments, said = configured(encoder, *flags)
    assert (kind, arguments["architecture"], arguments["weights"], arguments["stride"]) == (
        "ResNet", "resnet18", "F.pth", 16
    )  # fmt: skip
    assert arguments["batch_norm"] == "running"
    assert said == ""


def test_another_name_has_none_of_the_arguments_of_the_one_before(configured):
    kind, arguments, said = configured(GIVEN, "--model.method.encoder", "resnet50")
    assert (kind, arguments["architecture"], arguments["weights"], arguments["stride"]) == (
        "ResNet", "resnet50", "pretrained", 8
    )  # fmt: skip
    assert said == dropped("resnet50")
    kind, arguments, said = configured(GIVEN, "--model.method.encoder", "dinov2_s")
    assert (kind, arguments["weights"]) == ("Timm", "pretrained")
    assert said == dropped("dinov2_s")


def test_a_class_over_a_name_and_a_name_within_a_method(configured):
    kind, arguments, said = configured(GIVEN, "--model.method.encoder", "VGG16")
    assert (kind, arguments["weights"]) == ("VGG16", "pretrained")
    assert said == dropped("VGG16")
    kind, arguments, _ = configured(
        "VGG16", "--model.method", '{"class_path": "PMMs", "init_args": {"encoder": "resnet34"}}'
    )
    assert (kind, arguments["architecture"]) == ("ResNet", "resnet34")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ("--model.method.encoder", "dinov2"),
            ("no class dinov2. Did you mean dinov2_", "There are: resnet18,", "VGG16"),
        ),
        (
            ("--model.method.encoder", "resnet18", "--model.method.encoder.weigths", "F"),
            ("ResNet has no option weigths",),
        ),
        (
            ("--model.method.encoder.frozen", "layer1"),
            ("--model.method.encoder.frozen layer1: true or false or a list",),
        ),
        (("--model.optimizer", "resnet18"), ("--model.optimizer",)),
    ],
)
def test_mistakes_are_one_line(flags, words, fsseg, tmp_path):
    (tmp_path / "file.yaml").write_text(FILE.format(encoder="resnet18"))
    ran = fsseg("fit", "--config", "file.yaml", *flags)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert all(word in ran.err for word in words)


TINY = ("--data.images.size", "64", "--trainer.max_steps", "1", "--data.episodes.val", "2", "--data.loading.workers",
        "0", "--trainer.accelerator", "cpu", "--data.batch_size", "1")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "dinov2_s"])
def test_a_training_and_its_test_with_an_encoder_by_name(name, fsseg, tmp_path):
    """The checkpoint holds class and arguments, so that its test needs neither name nor weights."""
    (tmp_path / "file.yaml").write_text(FILE.format(encoder=f"{{class_path: {name}, init_args: {{weights: none}}}}"))
    ran = fsseg("fit", "--config", "file.yaml", *TINY, "--out", "run")
    assert ran.code == 0, ran.err
    assert (ran.err.count("are resized to 70x70") == 1) == (name == "dinov2_s")  # 64 is no multiple of 14
    short = ("--protocol.runs=1", "--protocol.episodes=2", "--data.loading.workers=0", "--trainer.accelerator=cpu")
    ran = fsseg("test", "--ckpt_path", "run/last.ckpt", *short)
    assert ran.code == 0, ran.err


@pytest.mark.slow
def test_a_frozen_encoder_trains_only_the_head(fsseg, tmp_path):
    (tmp_path / "file.yaml").write_text(FILE.format(encoder="resnet18"))
    frozen = ("--model.method.encoder.weights=none", "--model.method.encoder.frozen=true")
    ran = fsseg("fit", "--config", "file.yaml", *TINY, *frozen)
    assert (ran.code, ran.line) == (2, "fsseg: PANet has nothing to train with this encoder; test it with --untrained.")
    ran = fsseg("fit", "--config", "file.yaml", *TINY, *frozen, "--model.method", "PMMs", "--model.method.channels=8")
    assert ran.code == 0, ran.err


@pytest.mark.slow
def test_weights_of_another_network_are_one_line(fsseg, tmp_path):
    if not SQUEEZENET.is_file():
        pytest.skip(f"no {SQUEEZENET}")
    (tmp_path / "file.yaml").write_text(FILE.format(encoder="resnet18"))
    for name in ("resnet18", "vgg16", "dinov2_s"):
        ran = fsseg("fit", "--config", "file.yaml", *TINY, f"--model.method.encoder={name}",
                    f"--model.method.encoder.weights={SQUEEZENET}")  # fmt: skip
        assert ran.code == 2
        assert ran.line.startswith(f"fsseg: weights {SQUEEZENET} don't fit ")
