"""Rows, or single texts of theirs, whose exact style is not autograd's bit for bit, and why not.

Everything else in the rule book is held to it.
"""

ZEROS = "where there is a 0, PyTorch multiplies the products in another order"
LAYOUT = "which matrix kernel runs, and so how it rounds, depends on how the operands lie in memory"
ORDER = "PyTorch sums and scales in another order than its own formula says"
KERNEL = "PyTorch has one kernel for the whole step, which rounds in an order of its own"
PRECISION = "PyTorch works in the precision that was asked for, on a cotangent that is cast first"

NOT_EXACT = {
    "cumprod": ZEROS,
    "a @ b where a: 4; b: 2 4 5": LAYOUT,
    "a @ b where a: 4; b: 6 2 4 5": LAYOUT,
    "a @ b where a: 3 4; b: 2 4 5": LAYOUT,
    "a @ b where a: 3 4; b: 6 2 4 5": LAYOUT,
    "a.inner(b) where a: 3 4; b: ()": LAYOUT,
    "F.linear(a, w, bias=b) where a: 2 3 4; w: 5 4; b: 5": LAYOUT,
    "F.linear(a, w) where a: 2 3 4; w: 4": LAYOUT,
    "einsum": LAYOUT,
    "tensordot": LAYOUT,
    "conv1d": KERNEL,
    "conv2d": KERNEL,
    "conv3d": KERNEL,
    "conv_transpose1d": KERNEL,
    "conv_transpose2d": KERNEL,
    "avg_pool1d": KERNEL,
    "F.softmax(a, dim=1, dtype=torch.float64) where a: 3 4": PRECISION,
    "rms_norm": ORDER,
    "batch_norm": KERNEL,
    "instance_norm": KERNEL,
    "group_norm": KERNEL,
    "cdist": KERNEL,
    "normalize": ORDER,
    "cosine_similarity": ORDER,
    "scaled_dot_product_attention": KERNEL,
    "mse_loss": ORDER,
    "l1_loss": ORDER,
    "smooth_l1_loss": ORDER,
    "huber_loss": ORDER,
    "cross_entropy": ORDER,
    "kl_div": ORDER,
    "binary_cross_entropy": ORDER,
    "binary_cross_entropy_with_logits": ORDER,
}
