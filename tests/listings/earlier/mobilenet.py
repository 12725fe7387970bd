import neoclassic.compat

neoclassic.compat.install()

from d2l import torch as d2l
from torch import nn


def separable(in_channels, out_channels, stride):
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


cfg = [64, (128, 2), 128, (256, 2), 256, (512, 2), 512, 512, 512, 512, 512, (1024, 2), 1024]
layers, channels = [nn.Conv2d(1, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()], 32
for item in cfg:
    out, stride = item if isinstance(item, tuple) else (item, 1)
    layers.append(separable(channels, out, stride))
    channels = out
net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 10))
print("parameters:", sum(p.numel() for p in net.parameters()))

lr, num_epochs, batch_size = 0.1, 1, 256
train_iter, test_iter = d2l.load_data_fashion_mnist(batch_size, resize=96)
d2l.train_ch6(net, train_iter, test_iter, num_epochs, lr, d2l.try_gpu())
