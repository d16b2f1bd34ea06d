#!/usr/bin/python3
"""Losses, optimisers and learning rates in PyTorch: what training_golden_test.c is held against.

    apt-get install python3-torch; python3 tests/golden/make_training_goldens.py  (writes tests/golden/training.safetensors)

Losses: one dense layer, its gradients, the mean loss. Optimisers: twenty steps of a small network, the loss of each
and the weights after them. Schedules: the rate of every step. Weights and inputs are a formula of their index
(goldens.py); the settings stand in the test too, under the same names.
"""
import os
import warnings

import torch
import torch.nn.functional as F

from goldens import values, weight_values, write

ROWS, INPUTS, STEPS = 6, 8, 20
out = {}


def tensor(n, shape, scale=1.0):
    return torch.tensor(values(n, int(torch.tensor(shape).prod()))).reshape(shape) * scale


# ---- losses ----

LABELS = torch.tensor([0, 3, 1, 3, 2, 0])
BINARY = torch.tensor([1., 0, 0, 1, 1, 0])
CLASS = torch.tensor([1, 0.25, 3, 0.5])
PART = tensor(102, (ROWS, 4)) + 0.5             # of several labels, and values for mse
SHARE = PART / PART.sum(1, keepdim=True)        # probabilities; 102's sums are far from 0


def loss(name, outputs, mean, scale=4.0):
    w = torch.tensor(weight_values(0, (outputs, INPUTS))).requires_grad_()
    b = torch.tensor(weight_values(1, (outputs,))).requires_grad_()
    y = F.linear(tensor(100, (ROWS, INPUTS), scale), w, b)
    m = mean(y)
    m.backward()
    out[f'{name}/loss'] = m.reshape(1)
    out[f'{name}/gradient.dense1.weight'], out[f'{name}/gradient.dense1.bias'] = w.grad, b.grad


loss('cross entropy', 4, lambda y: F.cross_entropy(y, LABELS))
loss('cross entropy, far', 4, lambda y: F.cross_entropy(y, LABELS), 400.0)
loss('cross entropy, class weights', 4, lambda y: F.cross_entropy(y, LABELS, CLASS))
loss('cross entropy, smooth', 4, lambda y: F.cross_entropy(y, LABELS, label_smoothing=0.2))
loss('cross entropy, class weights, smooth', 4, lambda y: F.cross_entropy(y, LABELS, CLASS, label_smoothing=0.2))
loss('cross entropy, ignored', 4, lambda y: F.cross_entropy(y, LABELS, ignore_index=3))
# With weights too, PyTorch divides the smooth part by the ignored rows' weight as well: only the rows that are left.
KEPT = LABELS != 3
loss('cross entropy, ignored, class weights, smooth', 4,
     lambda y: F.cross_entropy(y[KEPT], LABELS[KEPT], CLASS, label_smoothing=0.2))
loss('cross entropy, targets', 4, lambda y: F.cross_entropy(y, SHARE))
loss('cross entropy, targets, class weights, smooth', 4, lambda y: F.cross_entropy(y, SHARE, CLASS, label_smoothing=0.2))
loss('mse', 4, lambda y: F.mse_loss(y, PART))
loss('log loss', 1, lambda y: F.binary_cross_entropy_with_logits(y[:, 0], BINARY))
loss('log loss, far', 1, lambda y: F.binary_cross_entropy_with_logits(y[:, 0], BINARY), 100.0)
loss('log loss, positive weight', 1, lambda y: F.binary_cross_entropy_with_logits(y[:, 0], BINARY, pos_weight=torch.tensor([3.])))
loss('log loss, several labels', 4, lambda y: F.binary_cross_entropy_with_logits(y, PART))
loss('log loss, several labels, positive weights', 4, lambda y: F.binary_cross_entropy_with_logits(y, PART, pos_weight=CLASS))


# ---- optimisers ----

def optimiser(name, make, clip=0.0):
    names = ['dense1.weight', 'dense1.bias', 'dense2.weight', 'dense2.bias']
    shapes = [(5, INPUTS), (5,), (4, 5), (4,)]
    w = [torch.tensor(weight_values(i, s)).requires_grad_() for i, s in enumerate(shapes)]
    opt, losses = make(w), []
    x = tensor(100, (ROWS, INPUTS), 2.0)
    for _ in range(STEPS):
        opt.zero_grad()
        mean = F.cross_entropy(F.linear(torch.tanh(F.linear(x, w[0], w[1])), w[2], w[3]), LABELS)
        mean.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(w, clip)
        losses.append(mean.item())
        opt.step()
    out[f'{name}/losses'] = torch.tensor(losses)
    for n, t in zip(names, w):
        out[f'{name}/after.{n}'] = t


O = torch.optim
optimiser('sgd', lambda w: O.SGD(w, 0.1))
optimiser('sgd, momentum, decay', lambda w: O.SGD(w, 0.05, momentum=0.9, weight_decay=0.03))
optimiser('sgd, nesterov, clipped', lambda w: O.SGD(w, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01), 0.25)
optimiser('adam', lambda w: O.Adam(w, 0.02))
optimiser('adam, decay, clipped', lambda w: O.Adam(w, 0.02, (0.8, 0.95), 1e-4, weight_decay=0.05), 0.25)
optimiser('adamw', lambda w: O.AdamW(w, 0.02, weight_decay=0.1))
optimiser('rmsprop', lambda w: O.RMSprop(w, 0.01))
optimiser('rmsprop, momentum, decay', lambda w: O.RMSprop(w, 0.005, 0.9, 1e-6, weight_decay=0.05, momentum=0.8))
optimiser('rmsprop, centered', lambda w: O.RMSprop(w, 0.005, 0.9, 1e-3, centered=True, momentum=0.5))
optimiser('adagrad', lambda w: O.Adagrad(w, 0.1))
optimiser('adagrad, decay', lambda w: O.Adagrad(w, 0.1, weight_decay=0.05))


# ---- schedules: stepped once an optimiser step ----

def schedule(name, rate, total, make):
    opt = O.SGD([torch.zeros(1, requires_grad=True)], rate)
    s, rates = make(opt), []
    for _ in range(total):
        rates.append(opt.param_groups[0]['lr'])
        opt.step()
        s.step()
    out[f'{name}/rates'] = torch.tensor(rates)


def after_warmup(opt, steps, start, make):
    # The later schedule is made first: making it sets the rate, which the warm-up's then lowers.
    main = make(opt)
    warm = L.LinearLR(opt, start, total_iters=steps)
    return L.SequentialLR(opt, [warm, main], [steps])


L = O.lr_scheduler
warnings.simplefilter('ignore')  # SequentialLR itself steps with an epoch, which is deprecated
schedule('step', 0.5, 40, lambda o: L.StepLR(o, 7, 0.3))
schedule('cosine', 0.5, 40, lambda o: L.CosineAnnealingLR(o, 40, 0.05))
schedule('one_cycle', 0.5, 40, lambda o: L.OneCycleLR(o, 0.5, total_steps=40, cycle_momentum=False))
schedule('one_cycle, early', 0.5, 100, lambda o: L.OneCycleLR(o, 0.5, total_steps=100, pct_start=0.1, div_factor=10,
                                                             final_div_factor=100, cycle_momentum=False))
schedule('constant after warm-up', 0.5, 40, lambda o: L.LinearLR(o, 0.1, total_iters=10))
schedule('step after warm-up', 0.5, 40, lambda o: after_warmup(o, 5, 0.25, lambda o: L.StepLR(o, 7, 0.3)))
schedule('cosine after warm-up', 0.5, 40, lambda o: after_warmup(o, 8, 0.01, lambda o: L.CosineAnnealingLR(o, 32)))

write(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'training.safetensors'), out, {'torch': torch.__version__})
print(len(out), 'tensors,', sum(t.numel() for t in out.values()), 'numbers')
