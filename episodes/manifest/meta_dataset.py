"""The table `[meta_dataset]` of a manifest: the dataset's name and class ids in Meta-Dataset."""

import re
from collections.abc import Mapping, Sequence

from episodes.manifest.facts import PARTS, MetaDataset, SplitScheme
from episodes.manifest.toml_table import Table

SCHEME = "meta-dataset"
LEVELS = 2


def parse_meta_dataset(
    manifest: Table, class_names: Sequence[str], schemes: Mapping[str, SplitScheme]
) -> MetaDataset | None:
    """The facts in `[meta_dataset]` of `manifest`, None where it has no such table.

    Meta-Dataset counts its class ids through train, val and test, inside each in the order of its
    own lists: those of the file that `order` names, else in the class table's. Raises EpisodesError
    where that file does not list the classes of the split scheme `meta-dataset`, part after part.
    """
    entry = manifest.optional_table("meta_dataset")
    if not entry.values:
        return None
    if SCHEME not in schemes:
        raise entry.error("*", f"needs the split scheme {SCHEME}; there is {', '.join(schemes)}")
    parts = [schemes[SCHEME].classes[part] for part in PARTS]
    order = tuple(index for classes in parts for index in classes)
    if "order" in entry.values:
        order = _listed(entry, class_names, parts)
    return MetaDataset(
        entry.get("name", str),
        order,
        _levels(entry, class_names),
        crop=entry.get("crop", str, default="none"),
        drop_twins=entry.get("drop_twins", bool, default=False),
    )


def _listed(
    entry: Table, class_names: Sequence[str], parts: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    header, *names = entry.text_beside("order").splitlines() or [""]
    file = entry.get("order", str)
    if header != "class":
        raise entry.error("order", f"names {file}, whose line 1 is {header!r}; expected 'class'")
    index_of = {name: index for index, name in enumerate(class_names)}
    listed = tuple(index_of.get(name, -1) for name in names)
    first = 0
    for part, classes in zip(PARTS, parts, strict=True):
        last = first + len(classes)
        if sorted(listed[first:last]) != sorted(classes):
            raise entry.error(
                "order",
                f"names {file}, whose lines {first + 2} to {last + 1} are not the "
                f"{len(classes)} classes of {SCHEME}.{part}",
            )
        first = last
    if first != len(listed):
        raise entry.error("order", f"names {file}, which has lines after line {first + 1}")
    return listed


def _levels(entry: Table, class_names: Sequence[str]) -> str | None:
    pattern = entry.get("levels", str, default=None)
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise entry.error("levels", f"is {pattern!r}, which is no pattern ({error})") from None
    strangers = [name for name in class_names if not compiled.fullmatch(name)]
    if compiled.groups != LEVELS or strangers:
        example = f"; it does not match {strangers[0]!r}" if strangers else ""
        raise entry.error(
            "levels", f"is {pattern!r}; expected two groups, superclass and class{example}"
        )
    return pattern
