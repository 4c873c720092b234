import torch


class MyCube(torch.autograd.Function):
    @staticmethod
    def forward(x):
        result = x**3
        dx = 3 * x**2
        return result, dx

    @staticmethod
    def setup_context(ctx, inputs, output):
        (x,) = inputs
        result, dx = output
        ctx.save_for_backward(x, dx)

    @staticmethod
    def backward(ctx, grad_output, grad_dx):
        x, dx = ctx.saved_tensors
        result = grad_output * dx + grad_dx * 6 * x
        return result


def my_cube(x):
    result, _ = MyCube.apply(x)
    return result


def inputs():
    return {"x": torch.randn(7, generator=torch.Generator().manual_seed(4))}


#! grad_dx * 6 * x => grad_dx * 3 * x
#! + grad_dx * 6 * x => - grad_dx * 6 * x
#! grad_output * dx => grad_output * x
