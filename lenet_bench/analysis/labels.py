"""Names for readers where values are long: import paths and folders in, short labels out.

Two settings are the same when their values are equal, never when their labels are. So a label is
the shortest name of its value that no other value beside it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

import pandas as pd

FINGERPRINT = "dataset.fingerprint"
ROOT = "dataset.root"


def shortest_labels(names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Give each value the shortest of its names that no other value has.

    Args:
        names: For each value its names, the shortest first. A value whose longest name is also
            another one's is called by itself.
    """
    position = dict.fromkeys(names, 0)
    while True:
        labels = {value: names[value][position[value]] for value in names}
        uses = Counter(labels.values())
        ambiguous = [value for value, label in labels.items() if uses[label] > 1]
        longer = [value for value in ambiguous if position[value] + 1 < len(names[value])]
        if not longer:
            return labels | {value: value for value in ambiguous}
        for value in longer:
            position[value] += 1


def path_labels(paths: Iterable[str]) -> dict[str, str]:
    """Label import paths: `Act` for `mine:Act`, and `mine.Act` beside `other:Act`."""
    return shortest_labels({path: _dotted_endings(path) for path in paths})


def _dotted_endings(path: str) -> list[str]:
    """`Act`, `mine.Act`, `package.mine.Act` for `package.mine:Act`."""
    parts = path.replace(":", ".").split(".")
    return [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]


def data_labels(runs: pd.DataFrame) -> dict[str, str]:
    """Label the fingerprints of data by the end of the folder that holds the images.

    The fingerprint says which images they are; where they lie is for the reader. Data that lie in
    no folder of the user's, and folders whose images changed, keep the fingerprint in their label.
    """
    if FINGERPRINT not in runs:
        return {}
    known = runs.dropna(subset=[FINGERPRINT]).drop_duplicates(FINGERPRINT)
    roots = known[ROOT] if ROOT in known else pd.Series(None, index=known.index, dtype=object)
    places = dict(zip(known[FINGERPRINT].astype(str), roots, strict=True))
    folders = {images: root for images, root in places.items() if isinstance(root, str)}
    labels = shortest_labels({images: _folder_endings(root) for images, root in folders.items()})
    for images, root in folders.items():
        if labels[images] == images:
            labels[images] = f"{root} {images}"
    return {images: labels.get(images, images) for images in places}


def _folder_endings(root: str) -> list[str]:
    """`photos`, `b/photos`, `a/b/photos` for `a/b/photos`."""
    parts = PurePath(root).parts
    return [str(PurePath(*parts[-count:])) for count in range(1, len(parts) + 1)]
