"""Words that depend on a number."""


def plural(noun: str, count: int) -> str:
    """`iteration` of one, `iterations` of none or several."""
    return noun if count == 1 else f"{noun}s"
