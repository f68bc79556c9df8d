"""The Hydra launcher `stacked`: jobs of a sweep trained together."""

from hydra_plugins.lenet_bench_launcher.stacked import StackedLauncher

__all__ = ["StackedLauncher"]
