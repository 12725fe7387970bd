import neoclassic.compat

neoclassic.compat.install("dlfs")

import numpy as np
from and_gate import AND
from ch05.two_layer_net import TwoLayerNet as ScoreNet
from common.functions import *
from common.gradient import numerical_gradient, numerical_gradient_2d
from dataset.mnist import init_mnist, load_mnist
from gradient_2d import numerical_gradient as gradient_of_rows
from layer_naive import AddLayer, MulLayer
from nand_gate import NAND
from or_gate import OR
from two_layer_net import TwoLayerNet
from xor_gate import XOR

np.random.seed(0)

# chapter 2: gates of plain numbers
for xs in [(0, 0), (1, 0), (0, 1), (1, 1)]:
    print(xs, "->", AND(xs[0], xs[1]), NAND(xs[0], xs[1]), OR(xs[0], xs[1]), XOR(xs[0], xs[1]))

# chapter 3: activations, and a network of three layers as dictionaries of arrays
x = np.arange(-5.0, 5.0, 0.1)
assert step_function(x).dtype == int
assert np.allclose(sigmoid(x) + sigmoid(-x), 1)
assert np.allclose(relu(x) - relu(-x), x)
network = {"W1": np.array([[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]]), "b1": np.array([0.1, 0.2, 0.3])}
z = sigmoid(np.dot(np.array([1.0, 0.5]), network["W1"]) + network["b1"])
print(identity_function(z), softmax(np.array([0.3, 2.9, 4.0])), softmax(np.array([1010, 1000, 990])))

init_mnist()
(x_train, t_train), (x_test, t_test) = load_mnist(flatten=True, normalize=False)
print(x_train.shape, t_train.shape, x_test.shape, t_test.shape)
(x_train, t_train), (x_test, t_test) = load_mnist(normalize=True, flatten=True, one_hot_label=False)
w, b, accuracy_cnt = 0.01 * np.random.randn(784, 10), np.zeros(10), 0
for i in range(5):
    accuracy_cnt += int(np.argmax(softmax(np.dot(x_test[i], w) + b)) == t_test[i])
for i in range(0, len(x_test), 100):
    p = np.argmax(softmax(np.dot(x_test[i : i + 100], w) + b), axis=1)
    accuracy_cnt += np.sum(p == t_test[i : i + 100])
print("accuracy:", float(accuracy_cnt) / (len(x_test) + 5))

# chapter 4: losses, gradients
t, y = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0], [0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0]
print(mean_squared_error(np.array(y), np.array(t)), sum_squared_error(np.array(y), np.array(t)))
print(cross_entropy_error(np.array(y), np.array(t)), softmax_loss(np.array([y, y]), np.array([2, 0])))
print(numerical_gradient(lambda x: x[0] ** 2 + x[1] ** 2, np.array([3.0, 4.0])))
X, Y = np.meshgrid(np.arange(-2, 2.5, 0.25), np.arange(-2, 2.5, 0.25))
grad = numerical_gradient_2d(lambda x: np.sum(x**2), np.array([X.flatten(), Y.flatten()]).T).T
assert np.allclose(grad[0], 2 * X.flatten())
init_x = np.array([-3.0, 4.0])
for i in range(20):
    init_x -= 0.1 * gradient_of_rows(lambda x: x[0] ** 2 + x[1] ** 2, init_x)
print(init_x)


class simpleNet:
    def __init__(self):
        self.W = np.random.randn(2, 3)

    def loss(self, x, t):
        return cross_entropy_error(softmax(np.dot(x, self.W)), t)


net = simpleNet()
x, t = np.array([0.6, 0.9]), np.array([0, 0, 1])
dW = numerical_gradient(lambda w: net.loss(x, t), net.W)
assert np.allclose(dW.sum(axis=1), 0, atol=1e-6)
assert np.allclose(sigmoid_grad(x), sigmoid(x) * (1 - sigmoid(x)))
assert relu_grad(x).tolist() == [1, 1]

net = TwoLayerNet(input_size=784, hidden_size=100, output_size=10)
print(net.params["W1"].shape, net.params["b1"].shape, net.params["W2"].shape, net.params["b2"].shape)
assert np.allclose(net.predict(np.random.rand(100, 784)).sum(axis=1), 1)
small = TwoLayerNet(input_size=4, hidden_size=3, output_size=10)
x, t = np.random.rand(5, 4), np.eye(10)[np.random.randint(0, 10, 5)]
grad_numerical, grad_backprop = small.numerical_gradient(x, t), small.gradient(x, t)
for key in grad_numerical.keys():
    assert np.average(np.abs(grad_backprop[key] - grad_numerical[key])) < 1e-5, key
for i in range(3):
    batch_mask = np.random.choice(x_train.shape[0], 100)
    x_batch, t_batch = x_train[batch_mask], np.eye(10)[t_train[batch_mask]]
    grad = net.gradient(x_batch, t_batch)
    for key in ("W1", "b1", "W2", "b2"):
        net.params[key] -= 0.1 * grad[key]
    print(net.loss(x_batch, t_batch), net.accuracy(x_test, np.eye(10)[t_test]))

# chapter 5: layers of plain numbers, and the network that is made of layers
mul_apple_layer, mul_orange_layer, mul_tax_layer = MulLayer(), MulLayer(), MulLayer()
add_apple_orange_layer = AddLayer()
all_price = add_apple_orange_layer.forward(mul_apple_layer.forward(100, 2), mul_orange_layer.forward(150, 3))
print("price:", int(mul_tax_layer.forward(all_price, 1.1)))
dall_price, dtax = mul_tax_layer.backward(1)
dapple_price, dorange_price = add_apple_orange_layer.backward(dall_price)
print(mul_apple_layer.backward(dapple_price), mul_orange_layer.backward(dorange_price), dtax)

net = ScoreNet(input_size=784, hidden_size=50, output_size=10)
grad = net.gradient(x_batch, t_batch)
print(net.loss(x_batch, t_batch), net.predict(x_batch).shape, list(net.layers), net.lastLayer.y.shape)
