"""Right backward passes, and the mistakes that people make in them.

Every mistake is one edit of a file's text: `old` becomes `new`, and `gradient` is then wrong, by a
mistake of the kind `kind`. `pooling`, `attention` and `covariance` are the files beside this one,
`lecture` is the model that ships.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from gradninja.check.diagnosis import Kind
from gradninja.models import load

HERE = Path(__file__).parent
FILES = {name: HERE / f"{name}.py" for name in ("pooling", "attention", "covariance")}
FILES["lecture"] = load("mlp_batchnorm").path


@dataclass(frozen=True)
class Mistake:
    """`old` is written as `new` in a file's `backward`."""

    file: str
    kind: Kind
    gradient: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}-{self.kind.name}-{self.gradient}"

    def plant(self) -> str:
        """The file's text with the mistake in it."""
        head, start, body = FILES[self.file].read_text().partition("def backward(")
        assert self.old in body, self.old
        return head + start + body.replace(self.old, self.new, 1)

    @property
    def lines(self) -> tuple[int, ...]:
        """The numbers of the lines that may be named; where one is lost, of those that are left."""
        right, wrong = FILES[self.file].read_text().splitlines(), self.plant().splitlines()
        if not self.new:
            writes = re.compile(rf"\s*{self.gradient}( |\[|\.)")
            return tuple(i for i, text in enumerate(wrong, start=1) if writes.match(text))
        pairs = enumerate(zip(right, wrong, strict=False), start=1)
        return tuple(number for number, (one, other) in pairs if one != other)


def _table(kind: Kind, text: str) -> list[Mistake]:
    """A row a mistake: file | gradient | old | new. `\\n` stands for a line that goes."""
    found = []
    for row in text.strip().splitlines():
        file, gradient, old, new = (part.strip() for part in row.split("|"))
        if not new:
            old = f"    {old}\n"
        found.append(Mistake(file, kind, gradient, old, new))
    return found


MISTAKES = [
    *_table(
        Kind.NO_SUM,
        """
        lecture | dbnvar_inv | (bndiff * dbnraw).sum(0, keepdim=True) | bndiff * dbnraw
        lecture | db2 | dlogits.sum(0) | dlogits
        pooling | dgain | (dout * norm).sum(0) | dout * norm
        attention | dpeak | (mixed * dout).sum(0, keepdim=True) | mixed * dout
        covariance | dmean | -ddev.sum(0) | -ddev
        """,
    ),
    *_table(
        Kind.SECOND_USE,
        """
        lecture | dcounts | dcounts += dcounts_sum |
        lecture | dbndiff | dbndiff += 2 * bndiff * dbndiff2 |
        pooling | dpooled | dpooled += dmean / d |
        attention | de | de += dtotal |
        covariance | dz | dz += ddev |
        """,
    ),
    *_table(
        Kind.ASSIGN_FOR_ADD,
        """
        lecture | dcounts | dcounts += dcounts_sum | dcounts = dcounts_sum
        pooling | ddiff | ddiff += 2 * diff | ddiff = 2 * diff
        attention | dz | dz += dq @ Wq.T | dz = dq @ Wq.T
        """,
    ),
    *_table(
        Kind.LOST_KEEPDIM,
        """
        lecture | dcounts_sum_inv | dprobs).sum(1, keepdim=True) | dprobs).sum(1)
        pooling | dinv | (dnorm * diff).sum(1, keepdim=True) | (dnorm * diff).sum(1)
        attention | dtotal | total**2).sum(1, keepdim=True) | total**2).sum(1)
        covariance | dscale | sum(0, keepdim=True) | sum(0)
        """,
    ),
    *_table(
        Kind.MISSING_CLONE,
        """
        lecture | dhprebn | dbndiff.clone() | dbndiff
        pooling | dpooled | ddiff.clone() | ddiff
        attention | dh | dcentred.clone() | dcentred
        covariance | dz | dgap.clone() | dgap
        """,
    ),
    *_table(
        Kind.LOST_REPEATS,
        """
        lecture | dC | dC.index_put_((Xb,), demb, accumulate=True) | dC[Xb] += demb
        pooling | dE | dE.index_put_((ix,), demb, accumulate=True) | dE[ix] = demb
        attention | dP | dP.index_add_(0, pos, dh) | dP[pos] += dh
        covariance | dcentres | index_add_(0, label, down) | index_copy_(0, label, down)
        """,
    ),
    *_table(
        Kind.BESSEL,
        """
        lecture | dbndiff2 | 1 / (n - correction) * dbnvar | 1 / n * dbnvar
        pooling | ddiff | dvar / (d - 1) | dvar / d
        attention | dh | dmean / t | dmean / (t - 1)
        covariance | ddev | dcov.T) / (n - 1) | dcov.T) / n
        """,
    ),
    *_table(
        Kind.MISSING_COUNT,
        """
        lecture | dlogprobs | -1 / n | -1
        pooling | derr | 2 * err / err.numel() | 2 * err
        attention | dh | dmean / t | dmean
        covariance | dworst | -2 * worst / n | -2 * worst
        """,
    ),
    *_table(
        Kind.WRONG_AXIS,
        """
        lecture | dbnbias | dhpreact.sum(0, keepdim=True) | dhpreact.sum(1, keepdim=True)
        pooling | dinv | (dnorm * diff).sum(1, keepdim=True) | (dnorm * diff).sum(0, keepdim=True)
        attention | dpeak | * dout).sum(0, keepdim=True) | * dout).sum(1, keepdim=True)
        covariance | dmean | ddev.sum(0) | ddev.sum(1)
        """,
    ),
    *_table(
        Kind.GRADIENT_FOR_VALUE,
        """
        lecture | dbndiff | bnvar_inv * dbnraw | dbnvar_inv * dbnraw
        pooling | dinv | (dnorm * diff) | (dnorm * ddiff)
        attention | dmixed | peak * dout | dpeak * dout
        covariance | dscale | (dscaled * gap) | (dscaled * dgap)
        """,
    ),
    *_table(
        Kind.VALUE_FOR_GRADIENT,
        """
        lecture | dbnraw | bngain * dhpreact | bngain * hpreact
        pooling | dnorm | dout * gain | out * gain
        attention | dcentred | dz / std | z / std
        covariance | dgap | dscaled * scale | scaled * scale
        """,
    ),
    *_table(
        Kind.SKIPPED_LINK,
        """
        lecture | dhpreact | (1 - h**2) * dh | dh
        lecture | dbndiff | bnvar_inv * dbnraw | bnvar_inv * dhpreact
        pooling | dnorm | dout * gain | dout
        attention | dvar | dstd / (2 * std) | dstd
        covariance | dgap | dscaled * scale | dscaled
        """,
    ),
    *_table(
        Kind.TRANSPOSED,
        """
        lecture | dW2 | h.T @ dlogits | dlogits.T @ h
        pooling | dout | dpred @ W.T | dpred @ W
        attention | dk | dscores.T @ q | dscores @ q
        covariance | dW | x.T @ dz | dz @ x.T
        """,
    ),
    *_table(
        Kind.SIGN,
        """
        lecture | dcounts_sum | -(counts_sum**-2) | counts_sum**-2
        lecture | dhpreact | (1 - h**2) | (1 + h**2)
        pooling | dmean | -ddiff.sum(1 | ddiff.sum(1
        attention | dtotal | -(dprobs * e / total**2) | (dprobs * e / total**2)
        covariance | dworst | -2 * worst | 2 * worst
        """,
    ),
    Mistake(
        "pooling",
        Kind.TIES,
        "demb",
        "demb.scatter_(1, emb.max(1, keepdim=True).indices, dpooled.unsqueeze(1))",
        "demb += (emb == pooled.unsqueeze(1)) * dpooled.unsqueeze(1)",
    ),
    Mistake(
        "attention", Kind.TIES, "dh", "ties * dpeak / ties.sum(0, keepdim=True)", "ties * dpeak"
    ),
    Mistake(
        "covariance",
        Kind.TIES,
        "dscaled",
        "dscaled[range(n), scaled.max(1).indices] = dworst",
        "dscaled += (scaled == worst.unsqueeze(1)) * dworst.unsqueeze(1)",
    ),
]
