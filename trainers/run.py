"""A run: its settings, checked against the store that they are for, and its directory."""

from dataclasses import dataclass, field, replace

from episodes.errors import UsageError
from trainers import config as configuration
from trainers import learner as learners
from trainers import machine, marks, memory, provenance, samplers
from trainers.config import RunConfig, Settings
from trainers.group import Group
from trainers.learner import Learner
from trainers.sources import Source
from trainers.streams import Streams, open_streams
from trainers.task_sampling import TaskSampling


@dataclass(frozen=True)
class Run:
    """What a run computes with."""

    config: RunConfig
    source: Source
    learner: Learner
    streams: Streams
    sampling: TaskSampling | None = None
    group: Group = field(default_factory=Group)

    @classmethod
    def over(cls, source: Source, config: RunConfig, group: Group | None = None) -> "Run":
        """The run of these settings, with this process's threads and device set up for it.

        What `--blocks auto` and `--inner-graph auto` mean is decided here, by the compiler and the
        free memory, and is a setting of the run from then on. Several ranks of a `group` share out
        its tasks.

        Raises UsageError where the settings do not fit the source or the machine.
        """
        machine.use(config.device, config.threads, config.precision)
        group = group or Group()
        config = replace(config, blocks=group.of_first(lambda: _blocks(config)))
        learner = learners.build(config, source)
        free = machine.free_bytes(config.device)
        graph = group.of_first(lambda: memory.inner_graph(config, learner, source, free))
        if graph != config.inner_graph:
            config = replace(config, inner_graph=graph)
            learner = learners.build(config, source)
        streams = open_streams(source, config)
        group.share(config.meta_batch_size)
        if config.compile and group.world > 1:
            raise UsageError("--compile compiles the whole meta-batch: leave it out with torchrun")
        sampling = samplers.task_sampling(config, learner, source, streams, group)
        return cls(config, source, learner, streams, sampling, group)

    @property
    def name(self) -> str:
        """`glyphs-5w1s-anil-personalized-seed1`."""
        config = self.config
        parts = ((config.way, "w"), (config.shot, "s"))
        shape = "".join(f"{n}{letter}" for n, letter in parts if n is not None) or "variable"
        return f"{self.source.name}-{shape}-{config.algo}-{config.lr}-seed{config.seed}"

    def to_toml(self) -> str:
        """The text of its config.toml."""
        tables: dict[str, Settings] = {
            "store": self.source.recorded()
            | marks.split_facts(self.source.stores, self.config.split),
            "versions": {**provenance.versions()},
        }
        return configuration.to_toml(self.config, tables)


def _blocks(config: RunConfig) -> str:
    if learners.is_fused(config):
        return "fused"
    if config.blocks == "fused":
        raise UsageError("--blocks fused needs a C++ compiler with OpenMP: install g++")
    return "plain"
