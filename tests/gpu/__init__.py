"""What only a GPU can show. Run with a Python that has PyTorch: ``python -m tests.gpu``."""
