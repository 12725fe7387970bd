import neoclassic.compat

neoclassic.compat.install("dlfs")

from common.layers import *

np.random.seed(0)

# section 5.5 to 5.6: layers on small arrays
relu_layer, sigmoid_layer = Relu(), Sigmoid()
print(relu_layer.forward(np.array([[1.0, -0.5], [-2.0, 3.0]])), relu_layer.backward(np.ones((2, 2))))
print(sigmoid_layer.forward(np.array([[1, -1], [-2, 3]])), sigmoid_layer.backward(np.ones((2, 2))))
affine = Affine(np.array([[1, 2], [3, 4]]), np.array([1, 2]))
print(affine.forward(np.array([[1, 2], [3, 4]])), affine.backward(np.array([[1, 1], [2, 2]])), affine.dW, affine.db)
last = SoftmaxWithLoss()
print(last.forward(np.array([[0.3, 2.9, 4.0]]), np.array([[0, 0, 1]])), last.backward())
print(last.forward(np.array([0.3, 2.9, 4.0]), np.array([0, 0, 1])), last.backward())

# section 6.3 and 6.4
norm, dropout = BatchNormalization(np.ones(3), np.zeros(3)), Dropout(dropout_ratio=0.2)
x = np.random.randn(10, 3)
assert np.allclose(norm.forward(x, True).mean(axis=0), 0)
assert norm.backward(np.random.randn(10, 3)).shape == norm.forward(x, False).shape
assert np.allclose(dropout.forward(x, False), 0.8 * x)
assert np.allclose(dropout.forward(x, True) * dropout.mask, dropout.backward(x))

# section 7.4: columns, convolution and pooling
col1, col2 = im2col(np.random.rand(1, 3, 7, 7), 5, 5, stride=1, pad=0), im2col(np.random.rand(10, 3, 7, 7), 5, 5)
print(col1.shape, col2.shape, col2im(col2, (10, 3, 7, 7), 5, 5).shape)
img = np.random.rand(1, 1, 64, 64)
print(Convolution(np.random.rand(1, 1, 5, 5), 0).forward(img).shape)
conv = Convolution(np.random.rand(2, 3, 3, 5), np.zeros(2), stride=2, pad=1)
pool = Pooling(pool_h=2, pool_w=3, stride=2)
y = pool.forward(conv.forward(np.random.rand(10, 3, 12, 15)))
print(y.shape, conv.backward(pool.backward(y)).shape, conv.dW.shape, conv.db)
