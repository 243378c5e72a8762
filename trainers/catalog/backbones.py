"""The networks."""

from trainers.catalog.entry import Entry, table

BACKBONES = table(
    Entry(
        "conv4",
        "four blocks of 3x3 convolution, batch norm and ReLU, then a linear head",
        "Vinyals et al. 2016; Finn et al. 2017",
        settings={
            "filters": 64,
            "downsample": "pool",
            "leaky_slope": 0.0,
            "weight_init": "torch",
        },
    ),
    Entry(
        "resnet12",
        "four residual blocks of three 3x3 convolutions, then a linear head",
        "Baik et al. 2020, ALFA",
        settings={"filters": 64, "weight_init": "xavier"},
    ),
    Entry(
        "mlp",
        "fully connected layers with ReLU",
        "Finn et al. 2017, the sinusoid network",
        settings={"hidden": "40,40", "weight_init": "torch"},
    ),
)
