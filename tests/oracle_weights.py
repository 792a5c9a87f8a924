"""What comparisons with the official networks share: weights by recipe, given features, batches, norms."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.methods import Method
from fsseg.official_codes.renaming import Rename
from tests.golden.recipe import fill


def recipe_state(folder: Path, manifest: str, rename: Rename) -> dict[str, Tensor]:
    """Tensors of ``MANIFEST_manifest.json`` under our names.

    Args:
        folder: of the oracle, fixture `oracle_folder`.
        manifest: name of a case with weights, e.g. ``pmms_full_resnet50_129``.
        rename: official name to ours; tensors for which it is None are left out, and never computed.
    """
    rows = json.loads((folder / f"{manifest}_manifest.json").read_text())
    named = [(rename(official), shape, kind, seed) for _, official, shape, kind, seed in rows]
    state = {name: torch.from_numpy(fill(shape, kind, seed)) for name, shape, kind, seed in named if name}
    assert len(state) == sum(name is not None for name, *_ in named), "two official names became one"
    return state


def load_named(module: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a recipe's tensors, of which none may be missing or unknown; recipes leave out ``num_batches_tracked``."""
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)


class GivenFeatures(Encoder):
    """Features that are given: the brightness of an image is their number."""

    name = "given"
    stride = 8

    def __init__(self, maps: Tensor) -> None:
        super().__init__(mean=(0.0, 0.0, 0.0), std=(1 / 255,) * 3)
        self.maps, self.widths = maps, (maps.shape[1],)

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.maps[images[:, 0, 0, 0].round().long()],)


def low_resolution(method: Method, batch: Batch) -> Tensor:
    """Logits of the queries at about feature resolution."""
    support, query = method.features(batch)
    return method.predict(method.adapt(support, batch.support_mask), query)


def numbered(first: int, mask: Tensor) -> Tensor:
    """Images for `GivenFeatures`, one for each mask, from number ``first``."""
    leading = mask.shape[:-2]
    number = first + torch.arange(leading.numel(), dtype=torch.uint8).view(*leading, 1, 1, 1)
    return number.expand(*leading, 3, *mask.shape[-2:])


def episodes(support_image: Tensor, support_mask: Tensor, query_image: Tensor, query_mask: Tensor) -> Batch:
    """A batch of these images and masks; its numbers tell nothing."""
    episode, way, shot = support_mask.shape[:3]
    return Batch(
        support_image=support_image,
        support_mask=support_mask,
        query_image=query_image,
        query_mask=query_mask,
        query_size=torch.tensor(query_mask.shape[2:]).expand(*query_mask.shape[:2], 2),
        query_way=torch.zeros(query_mask.shape[:2], dtype=torch.long),
        classes=torch.arange(1, way + 1).expand(episode, -1),
        support_id=torch.zeros(episode, way, shot, dtype=torch.long),
        query_id=torch.zeros(query_mask.shape[:2], dtype=torch.long),
        support_variant=torch.zeros(support_mask.shape[:3], dtype=torch.long),
        query_variant=torch.zeros(query_mask.shape[:2], dtype=torch.long),
        run=torch.zeros(episode, dtype=torch.long),
        number=torch.arange(episode),
    )


def one_way(images: np.ndarray, support_label: np.ndarray, query_label: np.ndarray) -> Batch:
    """1-way 1-shot episodes of images ``n H W 3``, queries first as in the oracle, and labels ``b H W``."""
    image = torch.from_numpy(images).permute(0, 3, 1, 2)
    query, support = image.chunk(2)
    masks = (torch.from_numpy(label) for label in (support_label, query_label))
    support_mask, query_mask = (mask.unsqueeze(1) for mask in masks)
    return episodes(support[:, None, None], support_mask.unsqueeze(1), query.unsqueeze(1), query_mask)


def given_case(stored: Mapping[str, np.ndarray]) -> tuple[GivenFeatures, Batch]:
    """Encoder and 1-way 5-shot batch of a case ``pmms_head_*`` or ``rpmms_head_*``; features are leaves."""

    def maps(role: str) -> Tensor:
        stages = [torch.from_numpy(stored[f"{role}_stage{i}"]).float() for i in (2, 3)]
        return torch.cat(stages, dim=-3).flatten(0, -4)

    support_mask = torch.from_numpy(stored["support_mask"])[:, None, :, 0]
    query_mask = torch.from_numpy(stored["query_label"])
    features = torch.cat([maps("support"), maps("query")]).requires_grad_()
    number = support_mask.shape[:3].numel()
    images = numbered(0, support_mask), numbered(number, query_mask)
    return GivenFeatures(features), episodes(images[0], support_mask, images[1], query_mask)


def first_shot(batch: Batch) -> Batch:
    """The batch with its first support alone."""
    names = ("support_image", "support_mask", "support_id")
    return batch._replace(**{name: getattr(batch, name)[:, :, :1] for name in names})


@contextmanager
def record(module: nn.Module, *names: str) -> Iterator[dict[str, list[Any]]]:
    """What the named parts give while this context lasts, call by call."""
    outputs: dict[str, list[Any]] = {name: [] for name in names}

    def copy(output: Any) -> Any:
        return output.detach().clone() if isinstance(output, Tensor) else [copy(part) for part in output]

    hooks = [
        module.get_submodule(name).register_forward_hook(lambda _m, _i, output, n=name: outputs[n].append(copy(output)))
        for name in names
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def close(actual: Any, expected: Any, atol: float, rtol: float = 0.0) -> None:
    values = actual.detach().numpy() if isinstance(actual, Tensor) else actual
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=atol)


def close_norms(module: nn.Module, rename: Rename, names: np.ndarray, norms: np.ndarray, rtol: float) -> None:
    """Norms of gradients, by official names, as the oracle's README says: what is rounding noise need only be small."""
    gradients = [module.get_parameter(str(rename(str(name)))).grad for name in names]
    ours = np.array([0.0 if gradient is None else gradient.double().norm().item() for gradient in gradients])
    large = norms > 1e-4 * norms.max()
    close(ours[large], norms[large], atol=0, rtol=rtol)
    assert (ours[~large] < 2e-4 * norms.max()).all()


def close_prediction(logits: Tensor, expected: np.ndarray) -> None:
    """At most 0.1 % of the pixels differ."""
    assert (logits.argmax(2).squeeze(1).numpy() != expected).mean() <= 1e-3
