"""Random batches for checks."""

import torch

from fsseg.episode import IGNORE, Batch

_CELL = 4  # pixels of a side of a patch in random masks; smaller patches would vanish at feature resolution


def random_batch(
    episodes: int = 1, way: int = 1, shot: int = 1, query: int = 1, size: int = 24, void: bool = True, seed: int = 0
) -> Batch:
    """Random images and masks. Every mask shows background, all ways and, by default, ignored pixels.

    Args:
        episodes: number of episodes.
        way: ways of an episode.
        shot: supports per way.
        query: queries of an episode.
        size: height and width of the images, a multiple of 4.
        void: whether the two upper rows of each mask are ignored.
        seed: seed of images and masks.
    """
    random = torch.Generator().manual_seed(seed)

    def images(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, (*shape, 3, size, size), dtype=torch.uint8, generator=random)

    def masks(*shape: int) -> torch.Tensor:
        patches = torch.rand((*shape, 1 + way, size // _CELL, size // _CELL), generator=random).argmax(-3)
        labels = patches.repeat_interleave(_CELL, -2).repeat_interleave(_CELL, -1).to(torch.uint8)
        if void:
            labels[..., :2, :] = IGNORE
        return labels

    return Batch(
        support_image=images(episodes, way, shot),
        support_mask=masks(episodes, way, shot),
        query_image=images(episodes, query),
        query_mask=masks(episodes, query),
        query_size=torch.full((episodes, query, 2), size),
        query_way=torch.zeros(episodes, query, dtype=torch.long),
        classes=torch.arange(1, way + 1).expand(episodes, -1).clone(),
        support_id=torch.arange(episodes * way * shot).view(episodes, way, shot),
        query_id=torch.arange(episodes * query).view(episodes, query),
        support_variant=torch.zeros(episodes, way, shot, dtype=torch.long),
        query_variant=torch.zeros(episodes, query, dtype=torch.long),
        run=torch.zeros(episodes, dtype=torch.long),
        number=torch.arange(episodes),
    )
