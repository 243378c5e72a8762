"""The rows of a table: every way to an iteration of an algorithm that is timed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from episodes.errors import UsageError, unknown_name
from trainers import catalog
from trainers.settings import SETTINGS, Value

OURS = "trainers"
PEERS = ("learn2learn", "higher", "torchopt")
ONE_PASS = "learn2learn, one pass"
PEER_ALGORITHMS = ("maml", "fomaml", "anil")
ALLOCATORS = ("default", "tuned")
PRECISIONS = ("fp32", "tf32", "bf16")
PEER_PRECISIONS = {"cpu": ("fp32",), "cuda": ("fp32", "tf32")}


@dataclass(frozen=True)
class Row:
    """One implementation under one allocator: `default` is the system's, `tuned` what the trainers'
    command line sets up.

    `settings` are the run settings of a variant of the trainers; `is_streaming` takes each
    meta-batch from the stream, else one is used again and again.
    """

    algo: str
    implementation: str
    allocator: str
    lr: str = "fixed"
    precision: str = "fp32"
    settings: Mapping[str, Value] = field(default_factory=dict, hash=False)
    is_streaming: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it is the trainers'."""
        return self.implementation == OURS

    @property
    def chosen(self) -> dict[str, Any]:
        """The run settings of a row of the trainers."""
        precision = {"precision": self.precision} if self.precision != "fp32" else {}
        return {"algo": self.algo, "lr": self.lr, **precision, **self.settings}

    @property
    def name(self) -> str:
        """What it is called beside the others of its algorithm and allocator."""
        parts = [self.implementation]
        if self.is_ours:
            parts.append(self.lr)
            parts += [f"{name}={value}" for name, value in self.settings.items()]
        if self.precision != "fp32":
            parts.append(self.precision)
        if self.is_streaming:
            parts.append("its stream")
        return ", ".join(parts)

    @property
    def full_name(self) -> str:
        """The name with algorithm and allocator."""
        return f"{self.algo}: {self.name}, {self.allocator} allocator"

    def as_json(self) -> dict[str, Any]:
        """Its fields and its name."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class Choice:
    """What is to be timed: the rows are the products of these, as far as there are such.

    Raises UsageError, with the nearest match, for a name that is not known.
    """

    algos: tuple[str, ...] = PEER_ALGORITHMS
    schemes: tuple[str, ...] = ("fixed",)
    variants: tuple[Mapping[str, Value], ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    allocators: tuple[str, ...] = ALLOCATORS
    peers: tuple[str, ...] = PEERS
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for setting, names in (("algo", self.algos), ("lr", self.schemes)):
            for name in names:
                catalog.find(setting, name)
        for kind, known, names in (
            ("precision", PRECISIONS, self.precisions),
            ("allocator", ALLOCATORS, self.allocators),
            ("peer", PEERS, self.peers),
        ):
            for name in names:
                if name not in known:
                    raise unknown_name(kind, name, known)

    def rows(self, algo: str, device: str, has_data: bool) -> list[Row]:
        """The rows of an algorithm; with `has_data` the trainers have one over their stream."""
        found = [*self._ours(algo, has_data), *self._peers(algo, device)]
        wanted = [row for row in found if any(part in row.name for part in self.only)]
        return wanted if self.only else found

    def _ours(self, algo: str, has_data: bool) -> list[Row]:
        entry = catalog.find("algo", algo)
        schemes = [lr for lr in self.schemes if not entry.rates or lr in entry.rates]
        schemes = schemes or [str(entry.changes["lr"])]
        variants: tuple[Mapping[str, Value], ...] = ({}, *self.variants)
        rows = [
            Row(algo, OURS, allocator, lr, precision, settings)
            for allocator, lr, settings, precision in product(
                self.allocators, schemes, variants, self.precisions
            )
        ]
        if has_data:
            first = schemes[0], self.precisions[0]
            rows.append(Row(algo, OURS, self.allocators[-1], *first, is_streaming=True))
        return rows

    def _peers(self, algo: str, device: str) -> list[Row]:
        if algo not in PEER_ALGORITHMS:
            return []
        names = list(self.peers)
        if algo == "anil" and "learn2learn" in names:
            names.insert(names.index("learn2learn") + 1, ONE_PASS)
        possible = PEER_PRECISIONS.get(device, ("fp32",))
        precisions = [name for name in self.precisions if name in possible] or ["fp32"]
        return [
            Row(algo, name, allocator, precision=precision)
            for allocator, name, precision in product(self.allocators, names, precisions)
        ]


def variant(text: str) -> dict[str, Value]:
    """The run settings of SETTING=VALUE[,SETTING=VALUE...].

    A setting that this checkout does not know keeps its text: the row says so when it is skipped.
    Raises UsageError for another text.
    """
    settings: dict[str, Value] = {}
    for part in text.split(","):
        name, is_there, value = part.partition("=")
        if not name or not is_there:
            raise UsageError(f"variant {text!r}: expected SETTING=VALUE[,SETTING=VALUE...]")
        settings[name] = _typed(name, value)
    return settings


def _typed(name: str, value: str) -> Value:
    kind = SETTINGS[name].kind if name in SETTINGS else str
    if kind is bool:
        if value not in ("true", "false"):
            raise UsageError(f"variant {name}={value}: expected true or false")
        return value == "true"
    try:
        typed: Value = kind(value)
    except ValueError:
        raise UsageError(f"variant {name}={value}: expected a value of {kind.__name__}") from None
    return typed
