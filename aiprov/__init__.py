"""From an Ansible inventory to proven GPU hosts: survey, plan, apply, verify."""

__version__ = "0.1.0"
