"""The building of the demo world as the catalogue shows it."""

import pytest
from django.test import Client

from inference.demo.progress import Teller

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


@pytest.fixture
def teller() -> Teller:
    """In the second of its five steps."""
    building = Teller(total=5, say=lambda line: None)
    building.end_step()
    building.begin("Training the image classifier")
    return building


def test_an_empty_catalogue_tells_what_is_being_built(client: Client, teller: Teller) -> None:
    page = client.get("/").content.decode()
    assert "Step 2 of 5" in page
    assert "Training the image classifier" in page
    assert '<progress class="progress" max="5" value="1"' in page
    assert "Nobody has published a model here yet" not in page


def test_progress_is_told_in_the_readers_language(client: Client, teller: Teller) -> None:
    page = client.get("/demo/progress/", headers={"accept-language": "zh-CN"}).content.decode()
    assert "第 2 步，共 5 步" in page
    assert "训练图像分类模型" in page


def test_a_finished_step_makes_the_catalogue_look_again(client: Client, teller: Teller) -> None:
    assert "HX-Trigger" not in client.get("/demo/progress/?done=1")
    teller.end_step()
    teller.begin("Subscribing the consumer")
    assert client.get("/demo/progress/?done=1")["HX-Trigger"] == "catalogue-grew"


def test_a_finished_demo_leaves_no_trace_and_asks_no_more(client: Client, teller: Teller) -> None:
    teller.finish()
    answer = client.get("/demo/progress/?done=4")
    assert "hx-get" not in answer.content.decode()
    assert answer["HX-Trigger"] == "catalogue-grew"
    assert "Nobody has published a model here yet" in client.get("/").content.decode()
