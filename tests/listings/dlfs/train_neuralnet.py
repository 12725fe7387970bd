import neoclassic.compat

neoclassic.compat.install("dlfs")

import numpy as np
from common.multi_layer_net import MultiLayerNet
from common.multi_layer_net_extend import MultiLayerNetExtend
from common.optimizer import SGD, AdaGrad, Adam, Momentum
from common.util import shuffle_dataset
from dataset.mnist import load_mnist
from two_layer_net import TwoLayerNet

(x_train, t_train), (x_test, t_test) = load_mnist(normalize=True, one_hot_label=True)
x_train, t_train = shuffle_dataset(x_train, t_train)

network = TwoLayerNet(input_size=784, hidden_size=50, output_size=10)
learning_rate = 0.1
for i in range(20):
    batch_mask = np.random.choice(x_train.shape[0], 100)
    grad = network.gradient(x_train[batch_mask], t_train[batch_mask])
    for key in ("W1", "b1", "W2", "b2"):
        network.params[key] -= learning_rate * grad[key]
print(network.loss(x_train[:100], t_train[:100]), network.accuracy(x_test, t_test))

for optimizer in (SGD(), Momentum(), AdaGrad(), Adam()):
    net = MultiLayerNet(input_size=784, hidden_size_list=[100, 100], output_size=10, weight_decay_lambda=0.1)
    for i in range(3):
        optimizer.update(net.params, net.gradient(x_train[:100], t_train[:100]))
    print(type(optimizer).__name__, net.loss(x_train[:100], t_train[:100]))

bn = MultiLayerNetExtend(784, [50, 50], 10, weight_init_std=0.05, use_batchnorm=True, use_dropout=True)
optimizer = SGD(lr=0.01)
for i in range(5):
    optimizer.update(bn.params, bn.gradient(x_train[:100], t_train[:100]))
print(bn.accuracy(x_train[:100], t_train[:100]))
