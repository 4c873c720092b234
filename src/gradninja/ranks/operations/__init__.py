"""Operations on shares: taken out of expressions, tried, and done by what they mean."""
