"""VGG-M and VGG-S (Chatfield et al. 2014) and VGG-16 (Simonyan and Zisserman 2014)."""

from interp_cnn.models.network import Backbone
from interp_cnn.models.stages import LRN, Conv, Pool

_LRN = LRN(bias=2.0, alpha=1e-4)

VGG_M = Backbone(
    name="vgg_m",
    input_size=224,
    stages=(
        Conv("conv1", 96, kernel=7, stride=2, pad=0),
        _LRN,
        Pool(3, 2),
        Conv("conv2", 256, kernel=5, stride=2, pad=1),
        _LRN,
        Pool(3, 2, pad_end=1),
        Conv("conv3", 512),
        Conv("conv4", 512),
        Conv("conv5", 512),
    ),
    last_pool=Pool(3, 2),
)

VGG_S = Backbone(
    name="vgg_s",
    input_size=224,
    stages=(
        Conv("conv1", 96, kernel=7, stride=2, pad=0),
        _LRN,
        Pool(3, 3, pad_end=2),
        Conv("conv2", 256, kernel=5, pad=0),
        Pool(2, 2, pad_end=1),
        Conv("conv3", 512),
        Conv("conv4", 512),
        Conv("conv5", 512),
    ),
    last_pool=Pool(3, 3, pad_end=1),
)

VGG_16 = Backbone(
    name="vgg16",
    input_size=224,
    stages=(
        Conv("conv1_1", 64),
        Conv("conv1_2", 64),
        Pool(2, 2),
        Conv("conv2_1", 128),
        Conv("conv2_2", 128),
        Pool(2, 2),
        Conv("conv3_1", 256),
        Conv("conv3_2", 256),
        Conv("conv3_3", 256),
        Pool(2, 2),
        Conv("conv4_1", 512),
        Conv("conv4_2", 512),
        Conv("conv4_3", 512),
        Pool(2, 2),
        Conv("conv5_1", 512),
        Conv("conv5_2", 512),
        Conv("conv5_3", 512),
    ),
    last_pool=Pool(2, 2),
)
