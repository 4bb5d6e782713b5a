"""AlexNet as Caffe ships it: two groups in conv2, conv4 and conv5, local response normalisation."""

from interp_cnn.models.network import Backbone
from interp_cnn.models.stages import LRN, Conv, Pool

_LRN = LRN(bias=1.0, alpha=1e-4 / 5)

ALEXNET = Backbone(
    name="alexnet",
    input_size=227,
    stages=(
        Conv("conv1", 96, kernel=11, stride=4, pad=0),
        _LRN,
        Pool(3, 2),
        Conv("conv2", 256, kernel=5, pad=2, groups=2),
        _LRN,
        Pool(3, 2),
        Conv("conv3", 384),
        Conv("conv4", 384, groups=2),
        Conv("conv5", 256, groups=2),
    ),
    last_pool=Pool(3, 2),
)
