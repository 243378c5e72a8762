"""The table of a source's files, where they are many: a row a file, all under one address."""

from urllib.parse import quote

from episodes.manifest.facts import SourceFile
from episodes.manifest.toml_table import Table

COLUMNS = ["file", "bytes", "sha256"]


def listed_files(source: Table) -> tuple[SourceFile, ...]:
    """The files that `files_table` of `source` lists, each at `files_url` and its quoted name.

    None where there is no such key. Raises EpisodesError for a table of other columns than file,
    bytes and sha256, tab-separated.
    """
    if "files_table" not in source.values:
        return ()
    rows = [line.split("\t") for line in source.text_beside("files_table").splitlines()]
    if rows[:1] != [COLUMNS] or not all(
        len(row) == len(COLUMNS) and row[1].isdecimal() for row in rows[1:]
    ):
        raise source.error(
            "files_table", f"names a table without exactly the columns {', '.join(COLUMNS)}"
        )
    address = source.get("files_url", str)
    return tuple(
        SourceFile(name, "open", (f"{address}{quote(name)}",), int(size), sha256)
        for name, size, sha256 in rows[1:]
    )
