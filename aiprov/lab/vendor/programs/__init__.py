"""Programs of the stand-in packages. They run on lab hosts, on Python 3.6 and its library alone."""
