"""What is in the stand-in repositories: one module a product, with functions that list."""
