"""README.md of a published checkpoint, with the front matter that Hugging Face reads. Its texts may be untrusted."""

import re
from typing import Any

import yaml

from fsseg.results.test_facts import CHOSEN
from fsseg.zoo.model_card import UNKNOWN, CardTest, ModelCard

# Identifiers that Hugging Face knows as licences and that weights are likely to have; others are named in words.
_LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "openrail", "unlicense",
)  # fmt: skip
_TAGS = ["few-shot-segmentation", "semantic-segmentation", "fsseg"]
_TASK = {"type": "image-segmentation", "name": "Few-shot segmentation"}
_BUILT_IN = "Shapes"  # data set without files
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!&~$])")


def readme_text(card: ModelCard) -> str:
    """README.md of a card."""
    front = yaml.safe_dump(_front_matter(card), sort_keys=False, allow_unicode=True, width=1_000)
    parts = [f"# {_plain(card.name)}", _facts(card), _numbers(card), _commands(card), _file(card)]
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _front_matter(card: ModelCard) -> dict[str, Any]:
    found: dict[str, Any] = _licence(card.licence)
    found |= {"library_name": "fsseg", "pipeline_tag": "image-segmentation", "tags": [*_TAGS, _slug(card.label)]}
    results = [_result(test) for test in card.tests if test.mean_iou.mean is not None]
    if results:
        found |= {"metrics": ["mean_iou"], "model-index": [{"name": card.name, "results": results}]}
    return found


def _licence(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {"license": "unknown"}
    if licence.lower() in _LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": _slug(licence)}


def _result(test: CardTest) -> dict[str, Any]:
    """A test as an entry of Hugging Face's model index."""
    name = f"mean-IoU, {test.what}, protocol {test.protocol}"
    return {
        "task": dict(_TASK),
        "dataset": {"name": f"{test.dataset}, fold {test.fold}", "type": _slug(test.dataset)},
        "metrics": [{"type": "mean_iou", "name": name, "value": round(test.mean_iou.mean or 0.0, 2)}],
    }


def _facts(card: ModelCard) -> str:
    of, encoder = card.training, card.encoder
    rows = {
        "method": f"{card.label} (`{card.method}`)",
        "encoder": f"{encoder.name} (`{encoder.kind}`), {_start(encoder.weights)}",
        "data": f"{of.dataset}, fold {of.fold}: trained on {len(of.classes)} classes",
        "episodes": f"{of.way}-way {of.shot}-shot",
        "training": of.origin or f"{of.steps:,} steps, seed {of.seed}, checkpoint {CHOSEN[of.selection]}",
        "weights before": of.before,
        "licence": card.licence or f"{UNKNOWN}: ask the publisher before you use the weights",
        "made with": f"fsseg {card.fsseg}",
    }
    lines = [f"| {name} | {_cell(text)} |" for name, text in rows.items() if text]
    classes = ", ".join(_plain(name) for name in of.classes)
    table = "\n".join(["| | |", "| --- | --- |", *lines])
    return f"A checkpoint for few-shot segmentation with fsseg.\n\n{table}\n\nClasses of the training: {classes}."


def _start(weights: str | None) -> str:
    known = {None: "no pretrained weights", "none": "random start", "pretrained": "pretrained weights of its library"}
    return known.get(weights, f"weights {weights}")


def _numbers(card: ModelCard) -> str:
    if not card.tests:
        return "## Numbers\n\nNo test of this checkpoint was given."
    lines = [
        f"| {_plain(test.dataset)} fold {test.fold} | {test.what} | {_plain(test.protocol)}#{_plain(test.digest)} | "
        f"{test.mean_iou} | {test.binary_iou} |"
        for test in card.tests
    ]
    head = ["| data | episodes | protocol | mean-IoU | binary-IoU |", "| --- | --- | --- | ---: | ---: |"]
    how = [f"- {_plain(test.protocol)}#{_plain(test.digest)}: {_plain(test.how)}" for test in card.tests]
    notes = [f"- note: {_plain(note)}" for test in card.tests for note in test.notes]
    said = list(dict.fromkeys([*how, *notes]))
    what = "Percent, on the novel classes of the fold; +- is the standard deviation over the runs of a test."
    return "\n".join(["## Numbers", "", what, "", *head, *lines, "", *said])


def _commands(card: ModelCard) -> str:
    of = card.training
    same = [test for test in card.tests if (test.dataset, test.fold) == (of.dataset, of.fold)]
    tests = [command_of_test(card.file, card, test) for test in same] or [command_of_test(card.file, card)]
    lines = "\n".join([*dict.fromkeys(tests), command_of_prediction(card.file)])
    where = "" if of.dataset == _BUILT_IN else "\n\nDIR is the folder of the data set."
    own = f"\n\nThe checkpoint needs the class `{_code(card.own_class)}`, which fsseg lacks." if card.own_class else ""
    return f"## Use\n\n```sh\n{lines}\n```{where}{own}"


def command_of_test(path: str, card: ModelCard, test: CardTest | None = None) -> str:
    """The command that tests a checkpoint.

    Args:
        path: the checkpoint, as the shell reads it.
        card: its card.
        test: test to repeat; None for the protocol of the training.
    """
    words = ["fsseg test --ckpt_path", path]
    if card.training.dataset != _BUILT_IN:
        words.append("--data.root DIR")
    if test and _is_word(test.protocol):
        words.append(f"--protocol.name {test.protocol}")
    if test:
        words += [f"--protocol.{key} {_value(value)}" for key, value in test.changed.items() if _is_word(key, value)]
    if test and test.way != card.training.way:
        words.append(f"--data.way {test.way}")
    if test and test.shot != card.training.shot:
        words.append(f"--data.test_shot {test.shot}")
    return " ".join(words)


def _is_word(*texts: object) -> bool:
    """Whether untrusted words mean nothing to a shell."""
    return all(re.fullmatch(r"[\w.]+", str(text), re.ASCII) for text in texts)


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def command_of_prediction(path: str) -> str:
    """The command that segments a person's images with a checkpoint; ``path`` as the shell reads it."""
    return f"fsseg predict --ckpt_path {path} --support cat=a.jpg:a.png --query photos/ --out out"


def _file(card: ModelCard) -> str:
    return (
        f"## File\n\n`{card.file}`, {card.size:,} bytes, SHA-256 `{card.sha256}`. It holds the weights and the "
        "configuration, without the optimiser: a training can start from it (`--model.weights`) but not resume."
    )


def _plain(text: str) -> str:
    """An untrusted text as Markdown that shows it as it is."""
    return _MARKUP.sub(r"\\\1", text)


def _cell(text: str) -> str:
    """A text of a table in which backticks of our own mark code."""
    parts = text.split("`")
    return "`".join(_code(part) if i % 2 else _plain(part) for i, part in enumerate(parts))


def _code(text: str) -> str:
    return re.sub(r"[^\w.\-]", "", text)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-") or "unnamed"
