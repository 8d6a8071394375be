"""P-GCN: two graph convolutional networks over the proposals of a video (Zeng et al., ICCV 2019). Data flow:

    inner features x  -> action branch       -> [., x]  -> dropout -> activity head, classes and background
    extended ones  x' -> completeness branch -> [., x'] -> completeness head, regression head, of each class

A branch is two layers. Each mixes a proposal with its neighbours, by weights that are cosines of their input
features. In training a proposal comes with a tree of sampled neighbours and theirs, of which only the centre
is wanted; at test all proposals of a video come at once, with a matrix that says who is whose neighbour. Both
are one computation with an adjacency matrix. That of a tree has rows for the centre and its children, which
the first layer needs; the second needs the row of the centre alone.
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
    """Everything the network computes for proposals.

    K classes, C channels of a feature, P rows and n columns of a graph. The leading dimensions are (B,
    centres) for trees, (N,) or (B, N) for all proposals of a video.
    """

    activity_logits: jax.Array  # (..., K + 1), background first
    completeness_logits: jax.Array  # (..., K): a margin score, of which the exponential is taken
    regression: jax.Array  # (..., K, 2) shift of the centre and log of the size, standardised as in training
    offsets: jax.Array  # (..., K, 2) shift of the centre in lengths of the proposal, log of its growth
    auxiliary_logits: jax.Array | None  # (...) how good the proposal is; None without the head
    action_features: jax.Array  # (..., C) of the action branch
    completeness_features: jax.Array  # (..., 3C)
    # (B, centres, P, n) of a tree or (..., N, N) of all proposals; None where the branch is 'mlp'.
    action_adjacency: jax.Array | None
    completeness_adjacency: jax.Array | None


def tree_neighbours(sampled):
    """Who is whose child in a tree: (1 + S, 1 + S + S^2) float32 of 0 and 1.

    It has a row for the centre and each of its S children. Node 0 is the centre; the children of node s are
    the nodes 1 + S * s to S + S * s.
    """
    parents = (np.arange(1 + sampled + sampled**2) - 1) // sampled
    return (parents == np.arange(1 + sampled)[:, None]).astype(np.float32)


def cosines(features, rows):
    """P-GCN Eq. 9: cosines of the features of the first `rows` nodes with all.

    features (..., n, C) -> (..., rows, n) float32.
    """
    first = features[..., :rows, :]
    dots = jnp.einsum("...pc,...nc->...pn", first, features, preferred_element_type=jnp.float32)
    squares = jnp.square(features.astype(jnp.float32)).sum(-1)
    norms = jnp.sqrt(jnp.maximum(squares, SMALLEST_NORM_PRODUCT**2))  # the gradient of a root has no end at 0
    products = norms[..., :rows, None] * norms[..., None, :]
    return dots / jnp.maximum(products, SMALLEST_NORM_PRODUCT)


def uniform_by_fan_out(key, shape, dtype=jnp.float32):
    """Initialiser of a layer and of its bias as published: uniform in +-1 / sqrt(number of outputs)."""
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / shape[-1] ** 0.5


class Branch(nn.Module):
    """Two layers over a graph: channels -> hidden -> channels, as published without a ReLU after the second.

    Attributes:
      hidden: channels between the layers.
      kind: 'gcn'; 'mlp': proposals by themselves; 'mean': an MLP, then the mean over the neighbours and, with
        the self term, the proposal.
      self_term: whether a proposal is added to the sum over its neighbours.
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
        """Features of the first `centres` nodes, mixed with those of their neighbours twice.

        Args:
          features: (..., n, C).
          neighbours: (..., P, n) how many times each node is a neighbour of the first P.
          centres: Q <= P.
          train: whether to drop out.

        Returns:
          (..., Q, C), and the adjacency matrix (..., P, n), None without one.
        """
        channels = features.shape[-1]
        features, layers = features.astype(self.dtype), []
        for i, shape in ((1, (channels, self.hidden)), (2, (self.hidden, channels))):
            kernel = self.param(f"layer_{i}_kernel", uniform_by_fan_out, shape)
            bias = self.param(f"layer_{i}_bias", uniform_by_fan_out, shape[1:])
            layers.append((kernel.astype(self.dtype), bias.astype(self.dtype)))
        first = second = None
        if self.kind == "gcn":
            first = second = self._edges(features, neighbours)
        elif self.kind == "mean":
            second = self._means(neighbours)
        ancestors = centres if second is None else neighbours.shape[-2]
        hidden = nn.relu(graph_layer(first, features, ancestors, *layers[0]))
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        return graph_layer(second, hidden, centres, *layers[1]), second

    def _edges(self, features, neighbours):
        """P-GCN Eq. 10: what a node sums, of each neighbour relu(cos) / N_s, of itself 1, as a matrix.

        features (..., n, C), neighbours (..., P, n) -> adjacency (..., P, n).
        """
        if self.edge == "embedded_cos":
            features = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, name="embedding")(features)
        shares = neighbours / jnp.maximum(neighbours.sum(-1, keepdims=True), 1)
        # The published code lets negative cosines be 0, the paper keeps them.
        edges = nn.relu(cosines(features, neighbours.shape[-2])) * shares
        return edges + jnp.eye(*neighbours.shape[-2:]) if self.self_term else edges

    def _means(self, neighbours):
        """Adjacency of the mean over neighbours and, with the self term, the node.

        (..., P, n) -> (..., P, n).
        """
        counts = neighbours + jnp.eye(*neighbours.shape[-2:]) if self.self_term else neighbours
        return counts / jnp.maximum(counts.sum(-1, keepdims=True), 1)


def graph_layer(adjacency, features, rows, kernel, bias):
    """P-GCN Eq. 4: the first `rows` rows of A X W + b; the bias b is of the published code.

    Args:
      adjacency: A (..., P, n), of which `rows` rows and as many columns are used as there are features; None:
        the identity.
      features: (..., m, C), m <= n; kernel: (C, D); bias: (D,).

    Returns:
      (..., rows, D).
    """
    nodes = features.shape[-2]
    if adjacency is None:
        return features[..., :rows, :] @ kernel + bias
    adjacency = adjacency[..., :rows, :nodes].astype(features.dtype)
    if (
        rows < nodes or features.shape[-1] <= kernel.shape[-1]
    ):  # (A X) W or A (X W), whichever is less to compute
        return (adjacency @ features) @ kernel + bias
    return adjacency @ (features @ kernel) + bias


def join_input(features, inputs):
    """P-GCN Eq. 5: X^(K) || X^(0), the features after the last layer and those before the first.

    features (..., Q, C) float32, inputs (..., n, C) of the same nodes first -> (..., Q, 2C) float32.
    """
    own = inputs[..., : features.shape[-2], :].astype(jnp.float32)
    return jnp.concatenate([features, own], axis=-1)


def head(features, name, inputs):
    """A linear layer of its own name in the module that calls it. (..., C) -> (..., features)."""
    return nn.Dense(features, kernel_init=nn.initializers.normal(HEAD_DEVIATION), name=name)(inputs)


class PGCN(nn.Module):
    """P-GCN Eq. 1: proposals and their graph -> the class and the boundaries of each.

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

    Beside "params" there is the collection "target_statistics", of the regression targets of training: mean
    (2,), std (2,).
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
        """Scores and offsets of proposals.

        Args:
          inputs: trees of proposals (..., 1 + S + S^2, 3C), or all proposals of a video (..., N, 3C):
            extended features, of which the middle third is the inner one.
          neighbours: None for trees; for all proposals (..., N, N) of any number type, how many times column
            j is a neighbour of row i. A proposal of an empty row, as padding has it, sees itself alone, and
            nobody sees it.
          train: True drops out, which needs an rng named "dropout".

        Returns:
          Outputs, for trees those of their centres.
        """
        centres, rows, channels = inputs.shape[-2], slice(None), inputs.shape[-1] // 3
        if neighbours is None:
            neighbours, centres, rows = tree_neighbours(self.sampled), 1, 0
        neighbours = jnp.asarray(neighbours, jnp.float32)

        def run(name, kind, features):
            settings = self.hidden, kind, self.self_term, self.edge, self.branch_dropout, self.dtype
            mixed, adjacency = Branch(*settings, name=name)(features, neighbours, centres, train)
            mixed = mixed.astype(jnp.float32)
            return join_input(mixed, features)[..., rows, :], mixed[..., rows, :], adjacency

        inner = inputs[..., channels : 2 * channels]
        action, action_features, action_adjacency = run("action_branch", self.action_branch, inner)
        completeness, completeness_features, completeness_adjacency = run(
            "completeness_branch", self.completeness_branch, inputs
        )
        regression = self._regression(completeness)
        mean = self.variable("target_statistics", "mean", jnp.zeros, (2,))
        std = self.variable("target_statistics", "std", jnp.ones, (2,))
        auxiliary_logits = None
        if self.auxiliary:
            choices = {"both": [action, completeness], "cls": [action], "loc": [completeness]}
            read = jnp.concatenate(choices[self.auxiliary_features], axis=-1)
            hidden = nn.relu(nn.Dense(AUXILIARY_HIDDEN, name="auxiliary_hidden")(read))
            auxiliary_logits = head(1, "auxiliary_head", hidden)[..., 0]
        return Outputs(
            activity_logits=self._activity(action, train),
            completeness_logits=self._completeness(completeness),
            regression=regression,
            offsets=regression * std.value + mean.value,
            auxiliary_logits=auxiliary_logits,
            action_features=action_features,
            completeness_features=completeness_features,
            action_adjacency=action_adjacency,
            completeness_adjacency=completeness_adjacency,
        )

    def _activity(self, action, train):
        """P-GCN Eq. 6: logits FC_1 of the action branch; losses and scores take their softmax.

        (..., 2C) -> (..., K + 1), background first.
        """
        dropped = nn.Dropout(self.dropout, deterministic=not train)(action)
        return head(self.num_classes + 1, "activity_head", dropped)

    def _regression(self, completeness):
        """P-GCN Eq. 7: FC_2 of the completeness branch, for each class a shift of the centre and a log size.

        (..., 6C) -> (..., K, 2), standardised.
        """
        regression = head(2 * self.num_classes, "regression_head", completeness)
        return regression.reshape(*regression.shape[:-1], self.num_classes, 2)

    def _completeness(self, completeness):
        """P-GCN Eq. 8: FC_3 of the completeness branch, how complete a proposal is. (..., 6C) -> (..., K)."""
        return head(self.num_classes, "completeness_head", completeness)
