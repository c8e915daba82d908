"""Legends: values, CF attributes and colours."""

from __future__ import annotations

import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.probes.legend import Legend


def test_codes_keep_their_values_and_names_count_from_one() -> None:
    assert Legend.of(["60", "9", "11"]).values == (9, 11, 60)
    assert Legend.of(["60", "9", "11"]).names == ("9", "11", "60")
    for names in (["b", "a", "c"], ["0", "1", "2"], ["1", "2", "255"], ["1", "01", "x"]):
        assert Legend.of(names).values == (1, 2, 3)
        assert Legend.of(names).names == tuple(sorted(names))


def test_attributes_are_those_of_cf_and_lead_back() -> None:
    legend = Legend.of(["winter wheat", "built-up", "12 m²"])
    attrs = legend.attrs()
    for name in ("flag_meanings", "flag_colors"):
        assert len(attrs[name].split(" ")) == len(attrs["flag_values"]) == 3
    assert attrs["flag_meanings"].split() == ["12_m²", "built-up", "winter_wheat"]
    assert Legend.from_attrs(attrs) == legend


def test_no_two_classes_have_one_colour() -> None:
    names = ["forest", "conifer forest", "water", *(f"class {n}" for n in range(12))]
    legend = Legend.of(names, {"water": "red", "class 3": "#00ff00"})
    colours = dict(zip(legend.names, legend.colours, strict=True))
    assert (colours["water"], colours["class 3"]) == ("#ff0000", "#00ff00")
    assert len(set(legend.colours)) == len(names)


@pytest.mark.parametrize(
    ("names", "colours", "words"),
    [
        ([str(n / 7) for n in range(300)], {}, "300 classes, such as .* a map has room for 254"),
        (["a", "b"], {"c": "red"}, "given for 'c', which is no class; the classes are a, b"),
        (["a", "b"], {"a": "reddish"}, "'reddish' is no colour; give one such as #2ca02c"),
    ],
)
def test_legends_that_cannot_be_are_refused(
    names: list[str], colours: dict[str, str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Legend.of(names, colours)
