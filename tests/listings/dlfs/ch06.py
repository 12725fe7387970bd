import neoclassic.compat

neoclassic.compat.install("dlfs")

import numpy as np
from common.multi_layer_net import MultiLayerNet
from common.multi_layer_net_extend import MultiLayerNetExtend
from common.optimizer import *
from common.trainer import Trainer
from common.util import shuffle_dataset, smooth_curve
from dataset.mnist import load_mnist

np.random.seed(0)

# section 6.1: optimizers on plain numbers, and on networks
params, grads = {}, {}
for optimizer in (SGD(lr=0.95), Momentum(lr=0.1), Nesterov(lr=0.1), AdaGrad(lr=1.5), RMSprop(lr=0.1), Adam(lr=0.3)):
    params["x"], params["y"] = -7.0, 2.0
    for i in range(30):
        grads["x"], grads["y"] = params["x"] / 10.0, 2.0 * params["y"]
        optimizer.update(params, grads)
    print(type(optimizer).__name__, params["x"], params["y"])
    assert abs(params["y"]) < 2

(x_train, t_train), (x_test, t_test) = load_mnist(normalize=True)
x_train, t_train = shuffle_dataset(x_train[:300], t_train[:300])
train_loss, networks = {}, {}
for key, weight_type in {"std=0.01": 0.01, "Xavier": "sigmoid", "He": "relu"}.items():
    networks[key] = MultiLayerNet(
        input_size=784, hidden_size_list=[100, 100, 100, 100], output_size=10, weight_init_std=weight_type
    )
    train_loss[key], optimizer = [], SGD(lr=0.01)
    for i in range(12):
        batch_mask = np.random.choice(x_train.shape[0], 128)
        x_batch, t_batch = x_train[batch_mask], t_train[batch_mask]
        optimizer.update(networks[key].params, networks[key].gradient(x_batch, t_batch))
        train_loss[key].append(networks[key].loss(x_batch, t_batch))
    assert smooth_curve(train_loss[key]).shape == (12,)

# section 6.3: batch normalisation, checked by differences
bn = MultiLayerNetExtend(input_size=8, hidden_size_list=[6, 5], output_size=10, use_batchnorm=True)
x_batch, t_batch = np.random.rand(9, 8), np.eye(10)[np.random.randint(0, 10, 9)]
grad_backprop, grad_numerical = bn.gradient(x_batch, t_batch), bn.numerical_gradient(x_batch, t_batch)
for key in grad_numerical.keys():
    assert np.average(np.abs(grad_backprop[key] - grad_numerical[key])) < 1e-5, key

# section 6.4 and 6.5: weight decay, dropout, and the search for hyperparameters
network = MultiLayerNetExtend(
    input_size=784, hidden_size_list=[20, 20], output_size=10, use_dropout=True, dropout_ration=0.2
)
trainer = Trainer(
    network,
    x_train,
    t_train,
    x_test,
    t_test,
    epochs=2,
    mini_batch_size=100,
    optimizer="sgd",
    optimizer_param={"lr": 0.01},
    verbose=True,
)
trainer.train()
results_val = {}
for _ in range(2):
    weight_decay, lr = 10 ** np.random.uniform(-8, -4), 10 ** np.random.uniform(-6, -2)
    network = MultiLayerNet(784, [20, 20], 10, weight_decay_lambda=weight_decay)
    trainer = Trainer(
        network, x_train[60:], t_train[60:], x_train[:60], t_train[:60], 2, 100, "sgd", {"lr": lr}, verbose=False
    )
    trainer.train()
    results_val[f"lr:{lr}, weight decay:{weight_decay}"] = trainer.test_acc_list
for key, val_acc_list in sorted(results_val.items(), key=lambda x: x[1][-1], reverse=True):
    print("val acc:", val_acc_list[-1], "|", key)
