"""P-GCN: two graph convolutional networks over the proposals of a video (Zeng et al., ICCV 2019). Data flow:

    inner features x  -> action branch       -> [., x]  -> dropout -> activity head, classes and background
    extended ones  x' -> completeness branch -> [., x'] -> completeness head and regression head, one for each class

A branch is two layers. Each mixes a proposal with its neighbours, by weights that are cosines of their input features. In
training a proposal comes with a tree of sampled neighbours and theirs, of which only the centre is wanted; at test all proposals
of a video come at once, with a matrix that says who is whose neighbour. Both are one computation with an adjacency matrix. That
of a tree has rows for the centre and its children, which the first layer needs; the second needs the row of the centre alone.
"""

from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

SMALLEST_NORM_PRODUCT = 1e-8  # features that are zero have no direction: their cosines are 0
HEAD_DEVIATION = 0.001
AUXILIARY_HIDDEN = 512


@flax.struct.dataclass
class Outputs:
    """What the network computes of proposals; K classes, C channels of a feature, P rows and n columns of a graph.

    The leading dimensions are (B, centres) for trees, (N,) or (B, N) for all proposals of a video.
    """

    activity_logits: jax.Array  # (..., K + 1), background first
    completeness_logits: jax.Array  # (..., K): a margin score, of which the exponential is taken
    regression: jax.Array  # (..., K, 2) shift of the centre and log of the size, in the standardised form of training
    offsets: jax.Array  # (..., K, 2) the same, for use: shift in lengths of the proposal, log of the ratio of sizes
    auxiliary_logits: jax.Array | None  # (...) how good the proposal is; None without the head
    action_features: jax.Array  # (..., C) of the action branch
    completeness_features: jax.Array  # (..., 3C)
    action_adjacency: jax.Array | None  # (B, centres, P, n) of a tree or (..., N, N); None where the branch is 'mlp'
    completeness_adjacency: jax.Array | None


def tree_neighbours(sampled):
    """Who is whose child in a tree: (1 + S, 1 + S + S^2) of 0 and 1, a row for the centre and each of its S children.

    Node 0 is the centre; the children of node s are the nodes 1 + S * s to S + S * s.
    """
    parents = (np.arange(1 + sampled + sampled**2) - 1) // sampled
    return (parents == np.arange(1 + sampled)[:, None]).astype(np.float32)


def cosines(features, rows):
    """P-GCN Eq. 9: cosines of the first `rows` nodes with all of them. (..., n, C) -> (..., rows, n) float32."""
    dots = jnp.einsum("...pc,...nc->...pn", features[..., :rows, :], features, preferred_element_type=jnp.float32)
    squares = jnp.square(features.astype(jnp.float32)).sum(-1)
    norms = jnp.sqrt(jnp.maximum(squares, SMALLEST_NORM_PRODUCT**2))  # the gradient of a root has no end at 0
    products = norms[..., :rows, None] * norms[..., None, :]
    return dots / jnp.maximum(products, SMALLEST_NORM_PRODUCT)


def uniform_by_fan_out(key, shape, dtype=jnp.float32):
    """Initialiser of a layer and of its bias as published: uniform in +-1 / sqrt(number of outputs)."""
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / shape[-1] ** 0.5


class Branch(nn.Module):
    """Two layers over a graph: channels -> hidden -> channels, no ReLU behind the second (the published code).

    Attributes:
      hidden: channels between the layers.
      kind: 'gcn'; 'mlp': proposals by themselves; 'mean': an MLP, then the mean over the neighbours and, with the self term,
        the proposal.
      self_term: the proposal itself is added (P-GCN Eq. 10).
      edge: 'cos' of the features, 'embedded_cos' of their learned projection to `hidden` channels.
      dropout: between the layers.
      dtype: of the computation.
    """

    hidden: int
    kind: str
    self_term: bool
    edge: str
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, features, neighbours, centres, train):
        """Features of the first `centres` nodes.

        Args:
          features: (..., n, C).
          neighbours: (..., P, n) how many times each node is a neighbour of the first P.
          centres: Q <= P.
          train: whether to drop out.

        Returns:
          (..., Q, C), and the adjacency matrix (..., P, n), None without one.
        """
        channels = features.shape[-1]
        features = features.astype(self.dtype)
        sizes = {"layer_1": (channels, self.hidden), "layer_2": (self.hidden, channels)}
        layers = {
            name: (
                self.param(f"{name}_kernel", uniform_by_fan_out, shape).astype(self.dtype),
                self.param(f"{name}_bias", uniform_by_fan_out, shape[1:]).astype(self.dtype),
            )
            for name, shape in sizes.items()
        }
        first = second = adjacency = None
        if self.kind == "gcn":
            adjacency = self._edges(features, neighbours)
            first = second = adjacency
        elif self.kind == "mean":
            second = adjacency = self._means(neighbours)

        ancestors = centres if self.kind == "mlp" else neighbours.shape[-2]
        hidden = nn.relu(_mix(first, features, ancestors, *layers["layer_1"]))
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        return _mix(second, hidden, centres, *layers["layer_2"]), adjacency

    def _edges(self, features, neighbours):
        """The adjacency matrix of P-GCN Eq. 10: of neighbours relu(cos) / number of them, of a proposal itself 1."""
        rows = neighbours.shape[-2]
        if self.edge == "embedded_cos":
            features = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, name="embedding")(features)
        shares = neighbours / jnp.maximum(neighbours.sum(-1, keepdims=True), 1)
        # The published code lets negative cosines be 0, the paper keeps them.
        edges = nn.relu(cosines(features, rows)) * shares
        return edges + jnp.eye(*neighbours.shape[-2:]) if self.self_term else edges

    def _means(self, neighbours):
        """The same with equal weights, whose sum is 1."""
        counts = neighbours + jnp.eye(*neighbours.shape[-2:]) if self.self_term else neighbours
        return counts / jnp.maximum(counts.sum(-1, keepdims=True), 1)


def _mix(adjacency, features, rows, kernel, bias):
    """A layer, P-GCN Eq. 4 with a bias: the first `rows` rows of A X W + b. None for A: of X W + b.

    Args:
      adjacency: (..., P, n), of which `rows` rows and as many columns are used as there are features, or None.
      features: (..., m, C), m <= n; kernel: (C, D); bias: (D,).

    Returns:
      (..., rows, D).
    """
    nodes = features.shape[-2]
    if adjacency is None:
        return features[..., :rows, :] @ kernel + bias
    adjacency = adjacency[..., :rows, :nodes].astype(features.dtype)
    fewer_rows, fewer_channels = rows < nodes, features.shape[-1] <= kernel.shape[-1]
    if fewer_rows or fewer_channels:  # (A X) W or A (X W): whichever is less to compute
        return (adjacency @ features) @ kernel + bias
    return adjacency @ (features @ kernel) + bias


class PGCN(nn.Module):
    """The network.

    Attributes:
      num_classes: K, no background.
      hidden: channels inside the branches.
      action_branch, completeness_branch: their kinds, see `Branch`.
      self_term, edge: of both branches.
      sampled: S, children of a node of a tree.
      dropout: before the activity head.
      branch_dropout: inside the branches.
      auxiliary: whether there is an auxiliary head (DW-AFSD).
      auxiliary_features: it reads 'both' branches, that of action ('cls') or of completeness ('loc').
      dtype: of the branches; parameters, cosines and heads stay float32.

    Beside "params" there is the collection "target_statistics", of the regression targets of training: mean (2,), std (2,).
    """

    num_classes: int
    hidden: int
    action_branch: str
    completeness_branch: str
    self_term: bool
    edge: str
    sampled: int
    dropout: float
    branch_dropout: float
    auxiliary: bool
    auxiliary_features: str
    dtype: Any

    @nn.compact
    def __call__(self, inputs, neighbours=None, train=False):
        """Scores proposals.

        Args:
          inputs: trees of proposals (..., 1 + S + S^2, 3C), or all proposals of a video (..., N, 3C): extended features, of which
            the middle third is the inner one.
          neighbours: None for trees; for all proposals (..., N, N) of any number type, how many times column j is a neighbour of
            row i. A proposal of an empty row, as padding has it, sees itself alone, and nobody sees it.
          train: True drops out, which needs an rng named "dropout".

        Returns:
          Outputs, for trees those of their centres.
        """
        trees = neighbours is None
        if trees:
            neighbours, centres = jnp.asarray(tree_neighbours(self.sampled)), 1
        else:
            neighbours, centres = neighbours.astype(jnp.float32), inputs.shape[-2]
        channels = inputs.shape[-1] // 3
        inner = inputs[..., channels : 2 * channels]

        def run(name, kind, features):
            branch = Branch(self.hidden, kind, self.self_term, self.edge, self.branch_dropout, self.dtype, name=name)
            found, adjacency = branch(features, neighbours, centres, train)
            own = features[..., :centres, :].astype(jnp.float32)
            found = found.astype(jnp.float32)
            joined = jnp.concatenate([found, own], axis=-1)  # P-GCN Eq. 5
            return (joined[..., 0, :], found[..., 0, :], adjacency) if trees else (joined, found, adjacency)

        action, action_features, action_adjacency = run("action_branch", self.action_branch, inner)
        completeness, completeness_features, completeness_adjacency = run("completeness_branch", self.completeness_branch, inputs)

        def head(features, name, inputs):
            init = nn.initializers.normal(HEAD_DEVIATION)
            return nn.Dense(features, kernel_init=init, name=name)(inputs)

        dropped = nn.Dropout(self.dropout, deterministic=not train)(action)
        regression = head(2 * self.num_classes, "regression_head", completeness)
        regression = regression.reshape(*regression.shape[:-1], self.num_classes, 2)
        mean = self.variable("target_statistics", "mean", jnp.zeros, (2,))
        std = self.variable("target_statistics", "std", jnp.ones, (2,))
        auxiliary_logits = None
        if self.auxiliary:
            init = nn.initializers.lecun_normal()
            choices = {"both": [action, completeness], "cls": [action], "loc": [completeness]}
            read = jnp.concatenate(choices[self.auxiliary_features], axis=-1)
            hidden = nn.relu(nn.Dense(AUXILIARY_HIDDEN, kernel_init=init, name="auxiliary_hidden")(read))
            auxiliary_logits = head(1, "auxiliary_head", hidden)[..., 0]
        return Outputs(
            activity_logits=head(self.num_classes + 1, "activity_head", dropped),
            completeness_logits=head(self.num_classes, "completeness_head", completeness),
            regression=regression,
            offsets=regression * std.value + mean.value,
            auxiliary_logits=auxiliary_logits,
            action_features=action_features,
            completeness_features=completeness_features,
            action_adjacency=action_adjacency,
            completeness_adjacency=completeness_adjacency,
        )
