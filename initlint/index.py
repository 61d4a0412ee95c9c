"""Who makes and who reads each value of a model, and which values are constant: computed once, used by every pass."""

from collections.abc import Mapping

import msgspec

from initlint.graph import Model, Node, StoredTensor

__all__ = ["Index", "index_of"]

RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


class Index(msgspec.Struct, frozen=True):
    """Producers and consumers by value name, over the main graph and all subgraphs."""

    stored: Mapping[str, StoredTensor]
    producer: Mapping[str, Node]
    consumers: Mapping[str, tuple[Node, ...]]
    constants: frozenset[str]  # stored tensors and what is computed from nothing else
    outputs: frozenset[str]  # of the main graph
    inner_outputs: frozenset[str]  # of subgraphs: read by the control-flow node around them

    def only_consumer(self, name: str) -> Node | None:
        """The one node that reads a value; None where several do, none does, or a graph gives it out."""
        readers = self.consumers.get(name, ())
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def index_of(model: Model) -> Index:
    """Index a model in one pass over its nodes (they are in topological order in each graph)."""
    stored = {tensor.name: tensor for tensor in model.initializers()}
    producer: dict[str, Node] = {}
    consumers: dict[str, list[Node]] = {}
    constants = set(stored)
    inner_outputs: set[str] = set()
    for graph in model.graphs():
        if graph is not model.graph:
            inner_outputs.update(info.name for info in graph.outputs)
        for node in graph.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    consumers.setdefault(name, []).append(node)
            for name in node.outputs:
                if name:
                    producer[name] = node
            plain = next(node.graphs(), None) is None and node.op not in RANDOM
            if plain and all(name in constants for name in node.inputs if name):
                constants.update(name for name in node.outputs if name)
    return Index(
        stored=stored,
        producer=producer,
        consumers={name: tuple(nodes) for name, nodes in consumers.items()},
        constants=frozenset(constants),
        outputs=frozenset(info.name for info in model.graph.outputs),
        inner_outputs=frozenset(inner_outputs),
    )
