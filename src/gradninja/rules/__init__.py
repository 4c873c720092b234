"""The rule book: one table, a row an operation."""

from gradninja.rules.book import Book, Open
from gradninja.rules.constants import CONSTANTS
from gradninja.rules.criteria.classes import CLASSES
from gradninja.rules.criteria.losses import LOSSES
from gradninja.rules.criteria.margins import MARGINS
from gradninja.rules.elementwise.activations import ACTIVATIONS
from gradninja.rules.elementwise.arithmetic import ARITHMETIC
from gradninja.rules.elementwise.casts import CASTS
from gradninja.rules.elementwise.complexes import COMPLEXES
from gradninja.rules.elementwise.functions import FUNCTIONS
from gradninja.rules.elementwise.rectifiers import RECTIFIERS
from gradninja.rules.elementwise.special import SPECIAL
from gradninja.rules.layers.attention import NETWORKS
from gradninja.rules.layers.images import IMAGES
from gradninja.rules.layers.normalisation import NORMALISATION
from gradninja.rules.layers.resampling import RESAMPLING
from gradninja.rules.products.einsum import EINSUM
from gradninja.rules.products.fourier import FOURIER
from gradninja.rules.products.linalg import LINALG
from gradninja.rules.products.linear import LINEAR
from gradninja.rules.products.lu import LU
from gradninja.rules.products.spectra import SPECTRA
from gradninja.rules.reducing.lengths import LENGTHS
from gradninja.rules.reducing.reductions import REDUCTIONS
from gradninja.rules.reducing.totals import TOTALS
from gradninja.rules.rule import OVER_AXES, Refusal, Rule, Site, Spelling, Template
from gradninja.rules.shaping.arrangements import ARRANGEMENTS
from gradninja.rules.shaping.brackets import BRACKETS
from gradninja.rules.shaping.indexing import INDEXING
from gradninja.rules.shaping.overwriting import OVERWRITING
from gradninja.rules.shaping.views import VIEWS

BOOK = Book(
    COMPLEXES,
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
    LU,
    FOURIER,
    EINSUM,
    IMAGES,
    RESAMPLING,
    NETWORKS,
    NORMALISATION,
    LENGTHS,
    LOSSES,
    MARGINS,
    CLASSES,
    CONSTANTS,
)
rule = BOOK.rule

__all__ = [
    "BOOK",
    "OVER_AXES",
    "Book",
    "Open",
    "Refusal",
    "Rule",
    "Site",
    "Spelling",
    "Template",
    "rule",
]
