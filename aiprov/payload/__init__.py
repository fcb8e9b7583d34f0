"""What runs on a host to measure its GPUs: its own process, of Python 3.9 and PyTorch alone.

The supervisor (standard library only) takes a plan of cells, starts a worker a device, keeps time
limits and writes the journal. Workers have PyTorch, do the cells and say what they saw. Nothing
here judges, and nothing imports the rest of aiprov: it is laid on hosts as the package
``aiprov_payload``, so imports are relative.
"""
