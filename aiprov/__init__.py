"""From an Ansible inventory to proven GPU hosts: survey, plan, apply, verify."""

__version__ = "0.1.0"

FORMAT_VERSION = "1.0"
"""Of every JSON document that a command prints or keeps."""
