"""The rule book: one table, a row an operation."""

from gradninja.rules.activations import ACTIVATIONS
from gradninja.rules.arithmetic import ARITHMETIC
from gradninja.rules.arrangements import ARRANGEMENTS
from gradninja.rules.book import Book
from gradninja.rules.brackets import BRACKETS
from gradninja.rules.casts import CASTS
from gradninja.rules.classes import CLASSES
from gradninja.rules.einsum import EINSUM
from gradninja.rules.functions import FUNCTIONS
from gradninja.rules.images import IMAGES
from gradninja.rules.indexing import INDEXING
from gradninja.rules.lengths import LENGTHS
from gradninja.rules.linalg import LINALG
from gradninja.rules.linear import LINEAR
from gradninja.rules.losses import LOSSES
from gradninja.rules.margins import MARGINS
from gradninja.rules.networks import NETWORKS
from gradninja.rules.normalisation import NORMALISATION
from gradninja.rules.overwriting import OVERWRITING
from gradninja.rules.rectifiers import RECTIFIERS
from gradninja.rules.reductions import REDUCTIONS
from gradninja.rules.resampling import RESAMPLING
from gradninja.rules.rule import Refusal, Rule, Site, Spelling, Template
from gradninja.rules.special import SPECIAL
from gradninja.rules.spectra import SPECTRA
from gradninja.rules.totals import TOTALS
from gradninja.rules.views import VIEWS

BOOK = Book(
    ARITHMETIC,
    FUNCTIONS,
    CASTS,
    SPECIAL,
    ACTIVATIONS,
    RECTIFIERS,
    REDUCTIONS,
    TOTALS,
    VIEWS,
    ARRANGEMENTS,
    OVERWRITING,
    BRACKETS,
    INDEXING,
    LINEAR,
    LINALG,
    SPECTRA,
    EINSUM,
    IMAGES,
    RESAMPLING,
    NETWORKS,
    NORMALISATION,
    LENGTHS,
    LOSSES,
    MARGINS,
    CLASSES,
)
rule = BOOK.rule

__all__ = ["BOOK", "Book", "Refusal", "Rule", "Site", "Spelling", "Template", "rule"]
