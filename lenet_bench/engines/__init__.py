"""Where stacks are trained: on this machine (`local`)."""
