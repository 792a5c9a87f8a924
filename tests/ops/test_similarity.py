import torch
from torch.nn import functional as F

from fsseg.ops.similarity import cosine_similarity


def test_is_torchs_cosine_of_every_cell_and_prototype() -> None:
    feature, prototype = torch.randn(2, 8, 5, 6), torch.randn(2, 3, 8)
    similarity = cosine_similarity(feature, prototype)
    assert similarity.shape == (2, 3, 5, 6)
    expected = F.cosine_similarity(feature.unsqueeze(1), prototype[..., None, None], dim=2)
    torch.testing.assert_close(similarity, expected)


def test_prototypes_may_be_shared_by_several_maps() -> None:
    feature, prototype = torch.randn(2, 4, 8, 5, 6), torch.randn(2, 1, 3, 8)
    similarity = cosine_similarity(feature, prototype)
    assert similarity.shape == (2, 4, 3, 5, 6)
    torch.testing.assert_close(similarity[1, 2], cosine_similarity(feature[1, 2], prototype[1, 0]))


def test_length_does_not_matter() -> None:
    feature, prototype = torch.randn(1, 8, 3, 3), torch.randn(1, 2, 8)
    torch.testing.assert_close(cosine_similarity(7 * feature, 0.1 * prototype), cosine_similarity(feature, prototype))


def test_the_zero_vector_is_similar_to_nothing() -> None:
    feature, prototype = torch.randn(1, 8, 3, 3, requires_grad=True), torch.zeros(1, 1, 8, requires_grad=True)
    similarity = cosine_similarity(feature, prototype)
    assert (similarity == 0).all()
    similarity.sum().backward()
    assert feature.grad.isfinite().all()
    assert prototype.grad.isfinite().all()
