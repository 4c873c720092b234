"""How the rule book's rows are lowered: to import this is to fill the table of `lower`."""

import gradninja.algebra.ops.arithmetic
import gradninja.algebra.ops.classes
import gradninja.algebra.ops.functions
import gradninja.algebra.ops.indexing
import gradninja.algebra.ops.lengths
import gradninja.algebra.ops.losses
import gradninja.algebra.ops.normalisation
import gradninja.algebra.ops.spreads  # noqa: F401
