import neoclassic.compat

neoclassic.compat.install("dlfs")

from collections import OrderedDict

import numpy as np
from common.gradient import numerical_gradient
from common.layers import *
from common.trainer import Trainer
from common.util import smooth_curve
from dataset.mnist import load_mnist


class SimpleConvNet:
    def __init__(self, input_dim=(1, 28, 28), filter_num=30, filter_size=5, hidden_size=100, output_size=10):
        conv_output_size = input_dim[1] - filter_size + 1
        pool_output_size = int(filter_num * (conv_output_size / 2) * (conv_output_size / 2))
        self.params = {}
        self.params["W1"] = 0.01 * np.random.randn(filter_num, input_dim[0], filter_size, filter_size)
        self.params["b1"] = np.zeros(filter_num)
        self.params["W2"] = 0.01 * np.random.randn(pool_output_size, hidden_size)
        self.params["b2"] = np.zeros(hidden_size)
        self.params["W3"] = 0.01 * np.random.randn(hidden_size, output_size)
        self.params["b3"] = np.zeros(output_size)
        self.layers = OrderedDict()
        self.layers["Conv1"] = Convolution(self.params["W1"], self.params["b1"], 1, 0)
        self.layers["Relu1"] = Relu()
        self.layers["Pool1"] = Pooling(pool_h=2, pool_w=2, stride=2)
        self.layers["Affine1"] = Affine(self.params["W2"], self.params["b2"])
        self.layers["Relu2"] = Relu()
        self.layers["Affine2"] = Affine(self.params["W3"], self.params["b3"])
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x), t)

    def accuracy(self, x, t):
        y = np.argmax(self.predict(x), axis=1)
        if t.ndim != 1:
            t = np.argmax(t, axis=1)
        return np.sum(y == t) / float(x.shape[0])

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        layers = list(self.layers.values())
        layers.reverse()
        for layer in layers:
            dout = layer.backward(dout)
        grads = {}
        grads["W1"], grads["b1"] = self.layers["Conv1"].dW, self.layers["Conv1"].db
        grads["W2"], grads["b2"] = self.layers["Affine1"].dW, self.layers["Affine1"].db
        grads["W3"], grads["b3"] = self.layers["Affine2"].dW, self.layers["Affine2"].db
        return grads


(x_train, t_train), (x_test, t_test) = load_mnist(flatten=False, one_hot_label=True)
np.random.seed(0)
network = SimpleConvNet()
small = SimpleConvNet(input_dim=(1, 10, 10), filter_num=4, filter_size=3, hidden_size=8)
X, T = np.random.rand(2, 1, 10, 10), np.array([1, 7])
differences = numerical_gradient(lambda _: small.loss(X, T), small.params["W1"])
error = np.average(np.abs(differences - small.gradient(X, T)["W1"]))
assert error < 1e-5, error
print("gradient check:", error)

trainer = Trainer(
    network,
    x_train,
    t_train,
    x_test,
    t_test,
    epochs=1,
    mini_batch_size=100,
    optimizer="SGD",
    optimizer_param={"lr": 0.1},
)
trainer.train()
print(smooth_curve(trainer.train_loss_list))
