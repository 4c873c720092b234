"""Rows for what makes few numbers of many, and for what is selected."""
