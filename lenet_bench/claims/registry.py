"""The claims: what is said about activation functions, where, and how it is decided here.

In: nothing; this file is a table. Out: `CLAIMS`, an entry per claim. An entry names the contrasts
that decide it, which are the same for all data and budgets. `lenet_bench.claims.rules` says what
supports and what refutes it. Some contrasts were moved to other learning rates after trial runs on
digits; `docs/RESULTS.md` says which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lenet_bench.claims.exact import linear_without_nonlinearity, max_pool_commutes, relu_twice
from lenet_bench.claims.kinds import Difference, Level, Test, compare, costs
from lenet_bench.claims.special import (
    beyond_six_times,
    dead_stays_dead,
    leaky_ends_dying,
    sigmoid_needs_hot_rate,
    sparser_overfits_less,
    step_has_no_gradient,
)

EXACT = "exact"
COST = "activation_cost"
"""In place of a preset where nothing is trained: what is computed, and what is measured as time."""

POSTS = "primers and blog posts on activation functions"
ALEXNET = (
    "Krizhevsky, Sutskever & Hinton 2012, of a convolutional network that reaches 25 % training "
    "error on CIFAR-10, each activation at a rate of its own"
)

DEPTHS = ("[84,84,84,84]", "[84,84,84,84,84,84]", "[84,84,84,84,84,84,84,84]")
DEEPEST = DEPTHS[-1]
KEPT_PER_LAYER = math.log(0.9)


@dataclass(frozen=True)
class Claim:
    """Something that is commonly said about activation functions.

    Attributes:
        identifier: The name of the claim in tables and in `--only`.
        statement: The claim in plain words.
        source: Where the claim is made.
        preset: The preset of `conf/experiment/` whose runs decide it, or `EXACT`, or
            `COST`.
        test: The quantity, the decision rule and its evaluation.
    """

    identifier: str
    statement: str
    source: str
    preset: str
    test: Test

    @property
    def quantity(self) -> str:
        """What is looked at."""
        return self.test.quantity

    @property
    def rule(self) -> str:
        """The decision rule, the same for every run."""
        return self.test.rule


def _deep(activation: str, hidden: str, init: str = "xavier_uniform") -> str:
    return f"{activation} init={init} model.hidden={hidden}"


def _dying(where: str) -> Difference:
    return Difference("dead_fraction", f"relu {where}", "relu lr=0.01 init.gain=1", "above")


def _order(activation: str) -> Difference:
    before, after = (f"{activation} model.batch_norm={order}" for order in ("before", "after"))
    return Difference("test_accuracy", before, after, "above")


_CLAIMS = (
    Claim(
        "sigmoid_slower",
        "Sigmoid trains LeNet clearly slower than tanh and ReLU.",
        f"LeCun, Bottou, Orr & Müller 1998; Glorot & Bengio 2010; {POSTS}",
        "sigmoid_tanh_relu",
        compare(
            Difference("mean_train_loss", "sigmoid", "tanh", "above", clearly=True),
            Difference("mean_train_loss", "sigmoid", "relu", "above", clearly=True),
        ),
    ),
    Claim(
        "tanh_close_to_relu",
        "In a network as shallow as LeNet, tanh does about as well as ReLU.",
        f"{POSTS}; the README of this project",
        "sigmoid_tanh_relu",
        compare(
            Difference("mean_train_loss", "tanh", "relu", "close"),
            Difference("test_accuracy", "tanh", "relu", "close"),
        ),
    ),
    Claim(
        "sigmoid_gradients_shrink",
        "Sigmoid's gradients vanish towards the input, the more the deeper the network.",
        f"Hochreiter 1991; Bengio, Simard & Frasconi 1994; Glorot & Bengio 2010; {POSTS}",
        "depth",
        compare(
            *(Level("gradient_ratio", _deep("sigmoid", hidden), "below") for hidden in DEPTHS),
            Difference(
                "gradient_ratio", _deep("sigmoid", DEEPEST), _deep("sigmoid", DEPTHS[0]), "below"
            ),
        ),
    ),
    Claim(
        "relu_gradients_keep",
        "ReLU's gradients do not vanish (Xavier initialisation).",
        f"Glorot, Bordes & Bengio 2011; {POSTS}",
        "depth",
        compare(Level("gradient_ratio_per_layer", _deep("relu", DEEPEST), "above", KEPT_PER_LAYER)),
    ),
    Claim(
        "relu_gradients_keep_kaiming",
        "ReLU's gradients do not vanish under Kaiming initialisation.",
        "He, Zhang, Ren & Sun 2015",
        "depth",
        compare(
            Level(
                "gradient_ratio_per_layer",
                _deep("relu", DEEPEST, "kaiming_uniform"),
                "above",
                KEPT_PER_LAYER,
            )
        ),
    ),
    Claim(
        "tanh_gradients_shrink_less",
        "Tanh's gradients vanish less than sigmoid's.",
        f"LeCun, Bottou, Orr & Müller 1998; Glorot & Bengio 2010; {POSTS}",
        "depth",
        compare(
            Difference(
                "gradient_ratio_per_layer",
                _deep("tanh", DEEPEST),
                _deep("sigmoid", DEEPEST),
                "above",
            )
        ),
    ),
    Claim(
        "tanh_beats_sigmoid_tuned",
        "Tanh beats sigmoid even when each has its own best learning rate.",
        f"LeCun, Bottou, Orr & Müller 1998; {POSTS}",
        "learning_rate",
        compare(
            Difference("test_accuracy", "tanh setting=tuned", "sigmoid setting=tuned", "above"),
            Difference(
                "final_validation_loss", "tanh setting=tuned", "sigmoid setting=tuned", "below"
            ),
            tuned=True,
        ),
    ),
    Claim(
        "hot_rate_kills_relu",
        "A high learning rate kills ReLU units.",
        f"Stanford's CS231n course notes; {POSTS}",
        "dying_relu",
        compare(
            _dying("lr=0.5 init.gain=1"),
            also=(_dying("lr=0.2 init.gain=1"), _dying("lr=0.1 init.gain=1")),
        ),
    ),
    Claim(
        "poor_init_kills_relu",
        "Poorly scaled initial weights, four times too large, kill ReLU units.",
        f"Lu, Shin, Su & Karniadakis 2020 (dying ReLU and initialization); {POSTS}",
        "dying_relu",
        compare(_dying("lr=0.01 init.gain=4"), also=(_dying("lr=0.01 init.gain=0.3"),)),
    ),
    Claim(
        "kaiming_suits_relu",
        "ReLU trains faster from Kaiming's initialisation than from Xavier's.",
        "He, Zhang, Ren & Sun 2015; documentation of deep learning libraries",
        "init_scheme",
        compare(
            Difference(
                "mean_train_loss",
                "relu init=kaiming_uniform",
                "relu init=xavier_uniform",
                "below",
            ),
        ),
    ),
    Claim(
        "adagrad_kills_fewer",
        "At the same high learning rate, Adagrad kills fewer ReLU units than SGD.",
        POSTS,
        "optimizer",
        compare(
            Difference(
                "dead_fraction",
                "relu optimizer=adagrad lr=0.1",
                "relu optimizer=sgd lr=0.1",
                "below",
            ),
            also=(
                Difference(
                    "test_accuracy",
                    "relu optimizer=adagrad lr=0.1",
                    "relu optimizer=sgd lr=0.1",
                    "above",
                ),
            ),
        ),
    ),
    Claim(
        "dead_stays_dead",
        "A dead ReLU unit stays dead.",
        f"Stanford's CS231n course notes; {POSTS}",
        "dying_relu",
        dead_stays_dead(),
    ),
    Claim(
        "leaky_ends_dying",
        "Leaky ReLU ends the dying of units.",
        f"Maas, Hannun & Ng 2013; {POSTS}",
        "relu_family",
        leaky_ends_dying(),
    ),
    Claim(
        "prelu_beats_leaky_beats_relu",
        "PReLU is better than Leaky ReLU, which is better than ReLU.",
        f"He, Zhang, Ren & Sun 2015; Xu, Wang, Chen & Li 2015; {POSTS}",
        "relu_family",
        compare(
            Difference("test_accuracy", "prelu lr=0.01", "leaky_relu lr=0.01", "above"),
            Difference("mean_train_loss", "prelu lr=0.01", "leaky_relu lr=0.01", "below"),
            Difference("test_accuracy", "leaky_relu lr=0.01", "relu lr=0.01", "above"),
            Difference("mean_train_loss", "leaky_relu lr=0.01", "relu lr=0.01", "below"),
        ),
    ),
    Claim(
        "prelu_regularises",
        "PReLU's learned slope regularises: less overfitting than Leaky ReLU.",
        POSTS,
        "relu_family",
        compare(Difference("gap", "prelu lr=0.01", "leaky_relu lr=0.01", "below")),
    ),
    Claim(
        "rrelu_regularises",
        "RReLU's random slope regularises: less overfitting than Leaky ReLU.",
        "Xu, Wang, Chen & Li 2015",
        "relu_family",
        compare(Difference("gap", "rrelu lr=0.01", "leaky_relu lr=0.01", "below")),
    ),
    Claim(
        "relu6_steadier",
        "ReLU6's bound keeps training steady at a high learning rate, where ReLU is not.",
        POSTS,
        "relu_family",
        compare(
            Difference("test_accuracy", "relu6 lr=0.1", "relu lr=0.1", "above"),
            also=(
                Difference("test_accuracy", "relu6 lr=0.03", "relu lr=0.03", "above"),
                Difference("test_accuracy", "relu6 lr=0.5", "relu lr=0.5", "above"),
            ),
        ),
    ),
    Claim(
        "leaky_relu6_best_of_both",
        "Leaky ReLU6 has the best of both: fewer dead units than ReLU6, steadier than Leaky ReLU.",
        "the description of this project, which defines it",
        "relu_family",
        compare(
            Difference("dead_fraction", "leaky_relu6 lr=0.1", "relu6 lr=0.1", "below"),
            Difference("test_accuracy", "leaky_relu6 lr=0.1", "leaky_relu lr=0.1", "above"),
        ),
    ),
    Claim(
        "swish_faster",
        "Swish learns faster than ReLU.",
        f"Ramachandran, Zoph & Le 2017; {POSTS}",
        "smooth_family",
        compare(
            Difference("mean_train_loss", "swish", "relu", "below"),
            also=(Difference("iterations_to_target", "swish", "relu", "below"),),
        ),
    ),
    Claim(
        "hard_swish_matches_swish",
        "Hard swish does as well as Swish.",
        "Howard et al. 2019 (MobileNetV3)",
        "smooth_family",
        compare(
            Difference("mean_train_loss", "hard_swish", "swish", "close"),
            Difference("test_accuracy", "hard_swish", "swish", "close"),
        ),
    ),
    Claim(
        "hard_swish_cheaper",
        "Hard swish is cheaper than Swish.",
        "Howard et al. 2019 (MobileNetV3), of mobile processors",
        COST,
        costs("hard_swish", reference="swish", claimed="below"),
    ),
    Claim(
        "mish_beats_swish",
        "Mish is more accurate than Swish.",
        f"Misra 2019; {POSTS}",
        "smooth_family",
        compare(
            Difference("test_accuracy", "mish", "swish", "above"),
            also=(Difference("mean_train_loss", "mish", "swish", "below"),),
        ),
    ),
    Claim(
        "sparser_overfit_less",
        "Sparser activations overfit less.",
        f"Glorot, Bordes & Bengio 2011, of sparse representations; {POSTS}",
        "sparsity",
        sparser_overfits_less(),
    ),
    Claim(
        "linear_without_nonlinearity",
        "Without activation functions a network, however deep, is only a linear map: LeNet too.",
        f"textbooks; {POSTS}",
        EXACT,
        linear_without_nonlinearity(),
    ),
    Claim(
        "step_untrainable",
        "The binary step cannot be trained by gradient descent: its gradient is 0.",
        f"textbooks; {POSTS}",
        "all_activations",
        step_has_no_gradient(),
    ),
    Claim(
        "slope_002_faster",
        "Leaky ReLU learns faster with a slope of 0.02 than with 0.01.",
        POSTS,
        "leaky_slope",
        compare(
            Difference(
                "mean_train_loss",
                "leaky_relu activation.negative_slope=0.02",
                "leaky_relu activation.negative_slope=0.01",
                "below",
            )
        ),
    ),
    Claim(
        "bn_before_beats_after",
        "Batch norm belongs before the activation: more accurate than after it (ReLU).",
        "Ioffe & Szegedy 2015",
        "batch_norm_order",
        compare(
            _order("relu"),
            also=(_order("tanh"), _order("sigmoid")),
        ),
    ),
    Claim(
        "bn_rescues_sigmoid",
        "Batch norm makes sigmoid trainable: it learns clearly faster with it.",
        "Ioffe & Szegedy 2015",
        "batch_norm_order",
        compare(
            Difference(
                "mean_train_loss",
                "sigmoid model.batch_norm=before",
                "sigmoid model.batch_norm=none",
                "below",
                clearly=True,
            )
        ),
    ),
    Claim(
        "exponentials_slower",
        "Sigmoid and tanh take longer to compute than ReLU, because of their exponentials.",
        f"Krizhevsky, Sutskever & Hinton 2012; {POSTS}",
        COST,
        costs("sigmoid", "tanh", reference="relu", claimed="above"),
    ),
    Claim(
        "max_pool_commutes",
        "Max pooling may come before any non-decreasing activation, but not before Swish.",
        "optimising compilers; the design of this project relies on it",
        EXACT,
        max_pool_commutes(),
    ),
    Claim(
        "relu_twice",
        "ReLU after ReLU changes nothing.",
        POSTS,
        EXACT,
        relu_twice(),
    ),
    Claim(
        "relu_six_times_faster",
        "Tanh needs some six times the iterations that ReLU needs (at one shared learning rate).",
        ALEXNET,
        "learning_rate",
        beyond_six_times("shared"),
    ),
    Claim(
        "relu_six_times_faster_tuned",
        "Tanh needs some six times the iterations that ReLU needs (each at its own best rate).",
        ALEXNET,
        "learning_rate",
        beyond_six_times("tuned"),
    ),
    Claim(
        "sigmoid_needs_hot_rate",
        "Sigmoid wants a learning rate several times that of ReLU.",
        "practitioners' lore; LeCun, Bottou, Orr & Müller 1998 on scaling rates",
        "learning_rate",
        sigmoid_needs_hot_rate(),
    ),
)

CLAIMS: Mapping[str, Claim] = MappingProxyType({claim.identifier: claim for claim in _CLAIMS})
