"""The rule book: one table, a row an operation."""

from gradninja.rules.arithmetic import ARITHMETIC
from gradninja.rules.book import Book
from gradninja.rules.rule import Refusal, Rule, Site, Spelling, Template

BOOK = Book(ARITHMETIC)
rule = BOOK.rule

__all__ = ["BOOK", "Book", "Refusal", "Rule", "Site", "Spelling", "Template", "rule"]
