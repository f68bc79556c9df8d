"""How fast lenet-bench is beside named alternatives, and how its cost grows; not in the wheel."""
