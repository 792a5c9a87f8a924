from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_jaccard_index

from fsseg.metrics import BinaryIoU, ClassIoU, Counts, count, presence

Oracle = Callable[[str], dict[str, np.ndarray]]
CLASSES = (3, 5, 8)


def random_episodes(number: int, way: int = 1, query: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, masks with ignored pixels, and class ids of the ways."""
    random = torch.Generator().manual_seed(seed)
    prediction = torch.randint(0, 1 + way, (number, query, 6, 7), generator=random)
    mask = torch.randint(0, 1 + way, (number, query, 6, 7), generator=random)
    mask[torch.rand(mask.shape, generator=random) < 0.1] = 255
    for i in range(0, number, 3):  # some queries lack the first way
        mask[i][mask[i] == 1] = 0
    order = torch.stack([torch.randperm(len(CLASSES), generator=random) for _ in range(number)])[:, :way]
    return prediction, mask, torch.tensor(CLASSES)[order]


def close(actual: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["panet_metric_voc_1way", "panet_metric_voc_2way"])
@pytest.mark.slow
def test_dropping_absent_classes_equals_panets_code(name: str, oracle: Oracle) -> None:
    stored = oracle(name)
    classes, run = torch.from_numpy(stored["class_ids"]), torch.from_numpy(stored["run"])
    runs = int(run.max()) + 1
    prediction, mask = (torch.from_numpy(stored[key]).unsqueeze(1) for key in ("pred", "target"))
    counts = count(prediction, mask, classes.shape[1])
    by_class, binary = ClassIoU(tuple(stored["eval_labels"].tolist()), runs, "drop"), BinaryIoU(runs, "drop")
    by_class.update(counts, classes, run)
    binary.update(counts, run)
    for suffix, result in (("", by_class.compute()), ("_binary", binary.compute())):
        for r in range(runs):
            close(result.per_class[r], stored[f"run{r}_classIoU{suffix}"].ravel())
            close(result.per_run[r], stored[f"run{r}_meanIoU{suffix}"])
        close(result.per_class.mean(0), stored[f"final_classIoU{suffix}"])
        close(result.per_class.std(0, correction=0), stored[f"final_classIoU_std{suffix}"])
        close(result.mean, stored[f"final_meanIoU{suffix}"])
        close(result.std, stored[f"final_meanIoU_std{suffix}"])


def test_counting_absent_classes_equals_hsnets_code(oracle: Oracle) -> None:
    stored = oracle("hsnet_metric")
    prediction, mask = (torch.from_numpy(stored[name]).unsqueeze(1).long() for name in ("pred", "gt"))
    mask[torch.from_numpy(stored["ignore"]).bool().unsqueeze(1)] = 255
    counts, run = count(prediction, mask, 1), torch.zeros(len(mask), dtype=torch.long)
    assert (counts.intersection[:, 0].numpy() == stored["area_inter"]).all()
    assert (counts.union[:, 0].numpy() == stored["area_union"]).all()
    classes = stored["class_ids"].tolist()
    by_class, binary = ClassIoU(tuple(classes)), BinaryIoU()
    by_class.update(counts, torch.from_numpy(stored["class_id"]).unsqueeze(1), run)
    binary.update(counts, run)
    per_class = by_class.compute().per_class[0]
    assert per_class.isnan().tolist() == [False, False, False, False, True]  # never drawn: 0 in the code, left out here
    np.testing.assert_allclose(per_class.nan_to_num(0), stored["class_iou"][1][classes], rtol=0, atol=1e-5)
    assert 100 * per_class.nan_to_num(0).mean().item() == pytest.approx(stored["miou"].item(), abs=1e-4)
    assert 100 * binary.compute().mean.item() == pytest.approx(stored["fb_iou"].item(), abs=1e-4)


@pytest.mark.parametrize("way", [1, 2])
def test_counting_absent_classes_equals_torchmetrics(way: int) -> None:
    prediction, mask, classes = random_episodes(40, way, query=2)
    counts = count(prediction, mask, way)
    by_class, binary = ClassIoU(CLASSES), BinaryIoU()
    by_class.update(counts, classes, torch.zeros(40, dtype=torch.long))
    binary.update(counts, torch.zeros(40, dtype=torch.long))
    # In class ids a class is judged on the queries of the episodes that have it, as labels are in an episode.
    for i, class_id in enumerate(CLASSES):
        own = (classes == class_id).any(1)
        label = (classes[own] == class_id).int().argmax(1).view(-1, 1, 1, 1) + 1
        truth = (mask[own] == label).long().where(mask[own] != 255, 255)
        expected = multiclass_jaccard_index(
            (prediction[own] == label).long(), truth, num_classes=2, ignore_index=255, average="none"
        )[1]
        assert by_class.compute().per_class[0, i].item() == pytest.approx(expected.item(), abs=1e-6)
    if way == 1:
        expected = multiclass_jaccard_index(prediction, mask, num_classes=2, ignore_index=255, average="none")
        assert binary.compute().per_class[0].tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_by_hand_on_four_by_four() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 2, 2], [255, 255, 2, 2]]).view(1, 1, 4, 4)
    prediction = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 2, 1], [1, 2, 2, 2]]).view(1, 1, 4, 4)
    counts = count(prediction, mask, way=2)
    assert counts.intersection.tolist() == [[[5, 3, 3]]]
    assert counts.union.tolist() == [[[7, 6, 4]]]
    assert counts.truth.tolist() == [[[6, 4, 4]]]
    by_class, binary = ClassIoU((4, 9)), BinaryIoU()
    by_class.update(counts, torch.tensor([[9, 4]]), torch.tensor([0]))
    binary.update(counts, torch.tensor([0]))
    assert by_class.compute().per_class.tolist() == [[pytest.approx(3 / 4), pytest.approx(3 / 6)]]
    assert binary.compute().per_class.tolist() == [[pytest.approx(5 / 7), pytest.approx(6 / 10)]]
    assert binary.compute().mean.item() == pytest.approx((5 / 7 + 6 / 10) / 2)


@pytest.mark.parametrize(("absent", "expected"), [("count", 1 / 4), ("drop", 1 / 2)])
def test_false_positives_on_a_query_without_the_class(absent: str, expected: float) -> None:
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).view(2, 1, 2, 2)
    prediction = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0]]).view(2, 1, 2, 2)
    metric = ClassIoU((7,), absent=absent)
    metric.update(count(prediction, mask, 1), torch.tensor([[7], [7]]), torch.tensor([0, 0]))
    assert metric.compute().mean.item() == pytest.approx(expected)


def test_padding_is_left_out() -> None:
    prediction, mask, classes = random_episodes(6)
    run = torch.tensor([0, 1, -1, 1, -1, 0])
    kept = run >= 0
    for metric in (ClassIoU(CLASSES, runs=2), BinaryIoU(runs=2)):
        by_class = (classes,) if isinstance(metric, ClassIoU) else ()
        metric.update(count(prediction, mask, 1), *by_class, run)
        padded = metric.compute()
        metric.reset()
        by_class = (classes[kept],) if isinstance(metric, ClassIoU) else ()
        metric.update(count(prediction[kept], mask[kept], 1), *by_class, run[kept])
        assert torch.equal(padded.per_class.nan_to_num(-1), metric.compute().per_class.nan_to_num(-1))


@pytest.mark.parametrize("absent", ["count", "drop"])
def test_processes_add_up(absent: str) -> None:
    prediction, mask, classes = random_episodes(30, way=2)
    run = torch.arange(30) % 3

    def counted(*parts: slice) -> list[ClassIoU | BinaryIoU]:
        by_class, binary = ClassIoU(CLASSES, 3, absent), BinaryIoU(3, absent)
        for part in parts:
            counts = count(prediction[part], mask[part], 2)
            by_class.update(counts, classes[part], run[part])
            binary.update(counts, run[part])
        return [by_class, binary]

    everything = counted(slice(None))
    batches = counted(*(slice(i, i + 7) for i in range(0, 30, 7)))
    processes = counted(slice(0, 30, 2)), counted(slice(1, 30, 2))
    for whole, batched, first, second in zip(everything, batches, *processes, strict=True):
        for name in ("intersection", "union"):
            assert torch.equal(getattr(whole, name), getattr(batched, name))
            assert torch.equal(getattr(whole, name), getattr(first, name) + getattr(second, name))
        first.merge_state(second)
        assert torch.equal(whole.compute().per_class, first.compute().per_class)


def test_a_class_that_was_never_drawn_does_not_enter_the_mean() -> None:
    metric = ClassIoU((2, 6), runs=2)
    mask = torch.ones(1, 1, 2, 2, dtype=torch.long)
    metric.update(count(mask, mask, 1), torch.tensor([[6]]), torch.tensor([0]))
    result = metric.compute()
    assert result.per_class[0].isnan().tolist() == [True, False]
    assert result.per_run[0].item() == 1
    assert metric.running().item() == 1


def test_the_mean_over_classes_is_not_the_mean_over_images() -> None:
    small = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    small[..., 0, 0] = 1
    large = torch.ones_like(small)
    metric = ClassIoU((1,))
    metric.update(count(small * 0, small, 1), torch.tensor([[1]]), torch.tensor([0]))
    metric.update(count(large, large, 1), torch.tensor([[1]]), torch.tensor([0]))
    assert metric.compute().mean.item() == pytest.approx(16 / 17)


def test_one_class_in_one_run_keeps_its_place() -> None:
    """torchmetrics would make a number without a dimension of it, which no loop over classes takes."""
    one = ClassIoU((3,))
    one.update(Counts(*torch.ones(3, 1, 1, 2, dtype=torch.long)), torch.tensor([[3]]), torch.tensor([0]))
    assert one.compute().per_class.tolist() == [[1.0]]
    assert one.compute().per_run.tolist() == [1.0]


def test_the_presence_score_is_the_mean_of_the_largest_percent_of_probabilities() -> None:
    logits = torch.randn(2, 3, 4, 30, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float()
    scores = presence(logits)
    for b in range(2):
        for q in range(3):
            values = np.exp(logits[b, q].double().numpy())
            values /= values.sum(axis=0)
            for way in range(1, 4):
                largest = sorted(values[way].ravel())[-12:]  # of 1,200 pixels
                assert float(scores[b, q, way - 1]) == pytest.approx(sum(largest) / 12, abs=1e-6)
    assert presence(logits[..., :2, :2]).shape == (2, 3, 3)  # at least one pixel
