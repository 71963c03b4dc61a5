"""The earnings page shows flat fees beside usage."""

import pytest

from billing import periods
from portal.kit import clock
from tests.billing.shop import open_shop
from tests.conftest import Cast


@pytest.mark.django_db
def test_a_monthly_fee_is_in_a_tile_in_the_table_and_in_the_file(cast: Cast) -> None:
    sale = open_shop(monthly_fee=2_000, provider=cast.acme)
    periods.current(sale.subscription, clock.now())
    browser = cast.browser(cast.owner)
    page = browser.get("/studio/earnings/").content.decode()
    # As the fees and as the gross, in a tile and in the table's row.
    assert page.count('value="2000"') == 4
    assert page.count('value="1800"') == 3, "the balance, what was earned, and the table's row"
    file = browser.get("/studio/earnings/", {"format": "csv"}).content.decode()
    assert "usage,fees,gross" in file
