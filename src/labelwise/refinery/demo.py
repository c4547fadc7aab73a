"""The demonstration: everything at once on real digits that come with scikit-learn."""

from __future__ import annotations

from labelwise.config import (
    BaselineConfig,
    ChainConfig,
    DataConfig,
    ModelConfig,
    NoiseConfig,
    Recipe,
    TrainConfig,
    ViewConfig,
)

DEMO_NOTE = (
    "Real handwritten digits (scikit-learn). [bold]Simulated:[/] 40% of the training labels are replaced by another "
    "digit; the test labels are clean. Five generations, beside controls on the given labels."
)


def demo_recipe() -> Recipe:
    """The digits with 40% uniform label noise, five generations of the narrow network: recipes/digits/noise40.yaml."""
    return Recipe(
        name="demo",
        description="scikit-learn digits; 40% of the training labels replaced (simulated), clean test labels",
        threads=1,
        data=DataConfig(source="digits", select_share=0.1, noise=NoiseConfig(kind="uniform", rate=0.4)),
        views=ViewConfig(size=8, scale=(0.9, 1.0), flip=False),
        model=ModelConfig(name="small-narrow"),
        train=TrainConfig(epochs=60, batch_size=64, lr=0.1, weight_decay=0.0, warmup_epochs=6, channels_last=False),
        chain=ChainConfig(generations=5),
        baselines=BaselineConfig(early_stop_epochs=(8, 15, 30, 60), smoothing=(0.1, 0.4)),
    )
