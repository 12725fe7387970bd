import neoclassic.compat

neoclassic.compat.install()

from d2l import torch as d2l
from torch import nn


class MobileNet(d2l.Classifier):
    def __init__(self, arch, lr=0.1, num_classes=10):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.LazyConv2d(32, 3, stride=2, padding=1, bias=False), nn.LazyBatchNorm2d(), nn.ReLU())
        in_channels = 32
        for i, (num_channels, strides) in enumerate(arch):
            self.net.add_module(
                f"b{i + 1}",
                nn.Sequential(
                    nn.Conv2d(in_channels, in_channels, 3, strides, padding=1, groups=in_channels, bias=False),
                    nn.LazyBatchNorm2d(),
                    nn.ReLU(),
                    nn.LazyConv2d(num_channels, kernel_size=1, bias=False),
                    nn.LazyBatchNorm2d(),
                    nn.ReLU(),
                ),
            )
            in_channels = num_channels
        self.net.add_module(
            "last", nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.LazyLinear(num_classes))
        )


arch = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
model = MobileNet(arch, lr=0.01)
trainer = d2l.Trainer(max_epochs=1, num_gpus=1)
data = d2l.FashionMNIST(batch_size=128, resize=(96, 96))
model.apply_init([next(iter(data.get_dataloader(True)))[0]], d2l.init_cnn)
trainer.fit(model, data)
print("parameters:", sum(p.numel() for p in model.parameters()))
