"""The page of a profile."""

from __future__ import annotations

from anomaly_vae.pages.profile import ProfiledColumn, profile_page
from tests.support.hostile_texts import HOSTILE


def test_columns_are_shown_and_those_left_out_are_marked():
    columns = [
        ProfiledColumn("price", "continuous", "modelled", "0 to 2", 0.125, 1234, (4, 0, 2), False),
        ProfiledColumn("note", "left out", "free text", "", None, None, (), True),
        ProfiledColumn("full", "integer", "modelled", "", 0.0, 2, (1,), False),
    ]
    page = profile_page("t.csv: 6 rows", ["decimal commas"], columns, "[columns]\nnote = 'exclude'\n")
    for text in ("12 %", "1,234", "decimal commas", "[columns]\nnote = &#39;exclude&#39;", ">0<"):
        assert text in page
    assert page.count('<tr class="out">') == 1
    assert page.count("<svg") == 2


def test_hostile_texts_stay_texts():
    columns = [ProfiledColumn(text, text, text, text, 0.0, 1, (1,), True) for text in HOSTILE]
    page = profile_page(HOSTILE[0], HOSTILE, columns, HOSTILE[4])
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("</style>") == 1
