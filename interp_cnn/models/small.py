"""A small network in the style of VGG that two cores train from scratch in a minute or two."""

from interp_cnn.models.network import Backbone
from interp_cnn.models.stages import Conv, Pool

SMALL = Backbone(
    name="small",
    input_size=96,
    stages=(
        Conv("conv1", 32, kernel=5, stride=2, pad=2),
        Pool(2, 2),
        Conv("conv2", 64),
        Conv("conv3", 64),
        Pool(2, 2),
        Conv("conv4", 128),
        Conv("conv5", 128),
    ),
    last_pool=Pool(2, 2),
    fc_features=256,
)
