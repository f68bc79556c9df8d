"""The networks: plain LeNet, and beside it N of them trained as one.

In: plain arguments (sizes, activations, initial weights) and images. Out: logits, losses and
gradients of every run. No configuration object enters this room. Read `lenet` first, then `stack`
beside it.
May import: `choices`, `common`.
"""
