"""What docs/tour.md says is what the service answers today."""

import base64

import pytest
from running import ROOT

SAMPLES = ROOT / "service" / "web" / "files" / "samples"
TOUR = (ROOT / "docs" / "tour.md").read_text()


def sample(name: str) -> dict[str, str]:
    return {"png": base64.b64encode((SAMPLES / f"{name}.png").read_bytes()).decode()}


def answer(client, path: str, field: str, **request) -> dict:
    response = client.post(path, json=request)
    assert response.status_code == 200, response.text
    return response.json()[field][0]


def says(*numbers: str) -> None:
    for number in numbers:
        assert number in TOUR.replace("\N{MINUS SIGN}", "-"), number


def test_the_five_of_the_tour_is_explained_as_it_says(client):
    told = answer(
        client, "/v1/explain", "explanations", images=[sample("5-0")], include=["claims"], model="mnist-3v5"
    )
    says(
        f"{told['logits']['5']:.3f}",
        f"{told['logits']['3']:.3f}",
        f"{told['claims']['5']['contributions'][7]:.3f}",
    )


def test_proofs_reach_as_far_as_it_says(client):
    for model in ("mnist-3v5", "mnist-3v5-certified"):
        told = answer(client, "/v1/certify", "results", images=[sample("5-0")], epsilon=0.1, model=model)
        says(f"{told['certified_radius']:.3f}")


@pytest.mark.parametrize(("epsilon", "works"), [(0.22, False), (0.25, True)])
def test_attack_needs_the_strength_that_it_says(client, epsilon, works):
    told = answer(
        client,
        "/v1/attack",
        "results",
        images=[sample("5-0")],
        attack="pgd",
        epsilon=epsilon,
        model="mnist-3v5",
    )
    assert told["success"] is works
    says(f"{epsilon}")
    if works:
        assert told["queries"] <= 10


def test_cat_is_called_what_it_says(client):
    told = answer(client, "/v1/predict", "predictions", images=[sample("cat")], model="mnist-10")
    says(f"`mnist-10` says {told['label']}, with {100 * told['confidence']:.2f}%")
