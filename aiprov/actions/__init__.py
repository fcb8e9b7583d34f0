"""What follows from a verdict: report it, put the host into a group, cordon its node, drain it.

``deciding`` says which hosts, and why, and touches nothing; ``acting`` has it done in one of the
ways beside it (``quarantine``, ``kubernetes``, ``slurm``), each of which can be done twice, says
what it did, and is undone to what was found. ``docs/actions.md`` is for users.
"""
