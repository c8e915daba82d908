"""Folds: what belongs together stays together, and every class is parted where it can be."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from terralatent.pipeline.probes.folds import MOST_FOLDS, deal_folds


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_groups_are_never_parted_and_classes_are(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 40))
    classes = np.array(data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count)))
    # Groups of one class each: then every class with two of them can be in two folds.
    own = np.array(data.draw(st.lists(st.integers(0, 6), min_size=count, max_size=count)))
    groups = classes * 10 + own

    folds = deal_folds(groups, classes, seed=data.draw(st.integers(0, 3)))

    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    assert np.unique(folds).tolist() == list(range(min(MOST_FOLDS, len(np.unique(groups)))))
    for kind in np.unique(classes):
        mine = classes == kind
        if len(np.unique(groups[mine])) >= 2:
            assert len(np.unique(folds[mine])) >= 2


def test_folds_have_much_the_same_of_each_class() -> None:
    classes = np.repeat([0, 1, 2], [50, 20, 5])
    folds = deal_folds(np.arange(75), classes)
    for kind, each in enumerate((10, 4, 1)):
        assert np.bincount(folds[classes == kind]).tolist() == [each] * 5
