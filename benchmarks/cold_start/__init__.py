"""What the first call of a packaged function costs, and what that is made of."""
