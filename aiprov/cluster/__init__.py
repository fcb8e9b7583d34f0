"""A Kubernetes cluster over its life: what is done to it as a whole, by way of its control planes.

``members`` says who is in it by the inventory, ``plane`` talks to a control plane, and each of the
other modules is one thing that is done: access, status, upgrade, removal, backup.
"""
