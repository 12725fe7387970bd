import neoclassic.compat

neoclassic.compat.install()

import torch
from d2l import torch as d2l

board = d2l.ProgressBoard("x")
for x in torch.arange(0, 10, 0.1):
    board.draw(x, torch.sin(x), "sin", every_n=2)
    board.draw(x, torch.cos(x), "cos", every_n=10)

data = d2l.SyntheticRegressionData(w=torch.tensor([2, -3.4]), b=4.2)
scratch = d2l.LinearRegressionScratch(2, lr=0.03)
trainer = d2l.Trainer(max_epochs=3)
trainer.fit(scratch, data)
with torch.no_grad():
    print(f"error in estimating b: {float((data.b - scratch.b).abs()):.3f}")

model = d2l.LinearRegression(lr=0.03)
trainer = d2l.Trainer(max_epochs=3, gradient_clip_val=10)
trainer.fit(model, data)
w, b = model.get_w_b()
assert (w.reshape(-1) - data.w).abs().max() < 0.1

X = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]])
K = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
print(d2l.corr2d(X, K))
