"""Another class in place of a file's: it has none of the first one's arguments, and a note says which those were."""

import pytest
import yaml

FILE = """
model:
  method:
    class_path: PANet
    init_args:
      scale: 10
      encoder: {class_path: VGG16, init_args: {weights: vgg.pth, mean: [0.5, 0.4, 0.3], std: [0.1, 0.2, 0.3]}}
  optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.25, momentum: 0.5}}
  lr_scheduler: {class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 7, gamma: 0.125}}
data:
  dataset: {class_path: Coco, init_args: {year: 2014, fold_rule: contiguous}}
trainer: {max_steps: 4}
"""
OVERLAY = "model: {method: {init_args: {encoder: {class_path: ResNet, init_args: {stride: 16}}}}}"
ENCODER = "note: ResNet replaces VGG16, whose arguments are dropped: weights vgg.pth, mean (0.5, 0.4, 0.3), std "


@pytest.fixture
def configured(fsseg, tmp_path):
    """The configuration of flags over the file, and what was said."""
    (tmp_path / "file.yaml").write_text(FILE)
    (tmp_path / "overlay.yaml").write_text(OVERLAY)

    def configure(*flags):
        ran = fsseg("fit", "--config", "file.yaml", *flags, "--print_config")
        assert ran.code == 0, ran.err
        return yaml.safe_load(ran.out), ran.err

    return configure


def test_an_encoder_has_none_of_the_arguments_of_the_one_before(configured):
    for flags in (("--model.method.encoder", "ResNet"), ("--config", "overlay.yaml")):
        config, said = configured(*flags)
        encoder = config["model"]["method"]["init_args"]["encoder"]
        assert encoder["class_path"].endswith("ResNet")
        found = encoder["init_args"]
        assert (found["weights"], tuple(found["mean"])) == ("pretrained", (0.485, 0.456, 0.406))
        assert found["stride"] == (16 if "--config" in flags else 8)
        assert said.count("note:") == 1
        assert said.startswith(ENCODER)


def test_what_is_given_behind_the_class_is_its_own(configured):
    config, said = configured(
        "--model.method.encoder", "ResNet", "--model.method.encoder.weights", "resnet.pth",
        "--model.method.encoder.stride=16",
    )  # fmt: skip
    found = config["model"]["method"]["init_args"]["encoder"]["init_args"]
    assert (found["weights"], found["stride"]) == ("resnet.pth", 16)
    assert said.count("note:") == 1


def test_a_method_keeps_the_encoder_and_nothing_else(configured):
    config, said = configured("--model.method", "PMMs")
    found = config["model"]["method"]["init_args"]
    assert "scale" not in found
    assert found["encoder"]["init_args"]["weights"] == "vgg.pth"
    assert said == "note: PMMs replaces PANet, whose arguments are dropped: scale 10.0. Give PMMs its own.\n"


def test_optimiser_schedule_and_data_set_likewise(configured):
    config, said = configured(
        "--model.optimizer", "Adam", "--model.lr_scheduler", "ExponentialLR", "--model.lr_scheduler.gamma", "0.75",
        "--data.dataset", "CocoJson",
    )  # fmt: skip
    assert config["model"]["optimizer"]["init_args"]["lr"] == 0.001
    assert config["model"]["lr_scheduler"]["init_args"]["gamma"] == 0.75
    assert "year" not in config["data"]["dataset"]["init_args"]
    assert "note: Adam replaces SGD, whose arguments are dropped: lr 0.25, momentum 0.5. Give Adam its own.\n" in said
    assert "ExponentialLR replaces StepLR, whose arguments are dropped: step_size 7, gamma 0.125." in said
    assert "CocoJson replaces Coco, whose arguments are dropped: year 2014, fold_rule contiguous." in said


@pytest.mark.parametrize(
    "flags", [("--model.method", "PANet"), ("--model.method", "fsseg.methods.PANet"), ("--data.dataset", "Coco"), ()]
)
def test_the_same_class_by_any_of_its_names_keeps_its_arguments(configured, flags):
    config, said = configured(*flags)
    assert said == ""
    assert config["model"]["method"]["init_args"]["scale"] == 10
    assert config["data"]["dataset"]["init_args"]["year"] == 2014
