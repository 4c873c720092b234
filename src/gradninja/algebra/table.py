"""How the rule book's rows are lowered: to import this is to fill the table of `lower`."""

import gradninja.algebra.distances
import gradninja.algebra.functions
import gradninja.algebra.lengths
import gradninja.algebra.macros
import gradninja.algebra.norms
import gradninja.algebra.operations
import gradninja.algebra.picks
import gradninja.algebra.spreads  # noqa: F401
