"""Rows, or single texts of theirs, whose exact style is not autograd's bit for bit, and why not.

Everything else in the rule book is held to it.
"""

ZEROS = "where there is a 0, PyTorch multiplies the products in another order"
LAYOUT = "which matrix kernel runs, and so how it rounds, depends on how the operands lie in memory"
ORDER = "PyTorch sums and scales in another order than its own formula says"
KERNEL = "PyTorch has one kernel for the whole step, which rounds in an order of its own"

FACTORS = "PyTorch goes back through the factors that its forward kept, which round otherwise"

NOT_EXACT = {
    **dict.fromkeys("fft ifft rfft irfft fft2 ifft2 fftn ifftn rfft2".split(), KERNEL),
    **dict.fromkeys(("polar", "angle", "abs of complex"), KERNEL),
    **dict.fromkeys(("solve", "det", "slogdet", "logdet", "pinv", "lstsq"), FACTORS),
    **dict.fromkeys(("eigh", "svd", "svdvals", "qr", "cholesky", "cholesky_inverse"), FACTORS),
    **dict.fromkeys(("lu_factor", "lu", "lu_solve"), FACTORS),
    **dict.fromkeys(("matrix_power", "multi_dot"), ORDER),
    **dict.fromkeys(("trapezoid", "cov", "corrcoef", "quantile", "embedding_bag"), ORDER),
    **dict.fromkeys(("multilabel_soft_margin_loss", "triplet_margin_loss"), ORDER),
    "gaussian_nll_loss": ORDER,
    **dict.fromkeys(("affine_grid", "local_response_norm"), ORDER),
    "F.pad(a, (1, 2, 2, 0), 'circular') where a: 2 3 4 5": ORDER,
    "cumprod": ZEROS,
    "F.scaled_dot_product_attention(q, k, v) where q: 1 3 5 4; k: 2 3 5 4; v: 2 3 5 4": LAYOUT,
    "torch.einsum('i,j->ij', a, b) where a: 3; b: 4": LAYOUT,
    "torch.einsum('ij,k->i', a, b) where a: 3 4; b: 5": LAYOUT,
    "torch.einsum('i,ij,j->', a, b, c) where a: 3; b: 3 4; c: 4": LAYOUT,
    "torch.einsum('bi,bi->b', a, b) where a: 1 4; b: 3 4": LAYOUT,
    "torch.cdist(a, b) where a: 3 4; b: 5 4": KERNEL,
    "torch.cdist(a, b) where a: 2 3 4; b: 2 5 4": KERNEL,
    "torch.cdist(a, b) where a: 3 2 ties; b: 5 2 ties": KERNEL,
    "F.cross_entropy(a, t - 1, w.detach(), ignore_index=-1, label_smoothing=0.1) "
    "where a: 5 4; t: 5 < 5; w: 4 positive": ORDER,
}
