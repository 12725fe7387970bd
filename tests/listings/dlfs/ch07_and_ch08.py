import neoclassic.compat

neoclassic.compat.install("dlfs")

import numpy as np
from common.layers import Convolution
from common.util import col2im, conv_output_size, im2col
from dataset.mnist import load_mnist
from deep_convnet import DeepConvNet
from simple_convnet import SimpleConvNet

np.random.seed(0)

# chapter 7: a gradient check on one image with a label N×1, filters, a file of weights
network = SimpleConvNet(
    input_dim=(1, 10, 10),
    conv_param={"filter_num": 10, "filter_size": 3, "pad": 0, "stride": 1},
    hidden_size=10,
    output_size=10,
    weight_init_std=0.5,
)
X, T = np.random.rand(100).reshape((1, 1, 10, 10)), np.array([1]).reshape((1, 1))
grad_num, grad = network.numerical_gradient(X, T), network.gradient(X, T)
for key, val in grad_num.items():
    assert np.abs(grad_num[key] - grad[key]).mean() < 1e-4, key
print(conv_output_size(28, 5, stride=1, pad=0), col2im(im2col(X, 3, 3), X.shape, 3, 3).shape)

network = SimpleConvNet()
network.save_params("params.pkl")
network.load_params("params.pkl")
img = np.random.rand(64, 64).astype(np.float32)
img = img.reshape(1, 1, *img.shape)
for i in range(3):
    w, b = network.params["W1"][i], 0
    w = w.reshape(1, *w.shape)
    out = Convolution(w, b).forward(img)
    print(out.reshape(out.shape[2], out.shape[3]).shape)
    assert np.array_equal(out, Convolution(w, network.params["b1"][i].reshape(1)).forward(img))

# chapter 8: the accuracy by hand, and in half precision
(x_train, t_train), (x_test, t_test) = load_mnist(flatten=False)
network = DeepConvNet()
network.save_params("deep_convnet_params.pkl")
network.load_params("deep_convnet_params.pkl")
classified_ids, acc, batch_size = [], 0.0, 100
for i in range(int(x_test.shape[0] / batch_size)):
    tx, tt = x_test[i * batch_size : (i + 1) * batch_size], t_test[i * batch_size : (i + 1) * batch_size]
    y = np.argmax(network.predict(tx, train_flg=False), axis=1)
    classified_ids.append(y)
    acc += np.sum(y == tt)
before = network.accuracy(x_test, t_test)
x_test = x_test.astype(np.float16)
for param in network.params.values():
    param[...] = param.astype(np.float16)
assert abs(network.accuracy(x_test, t_test) - before) < 0.05
