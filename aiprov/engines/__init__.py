"""Engines make a plan real. An engine gets changes, never a dry-run flag.

``ansible``     ansible.builtin modules, run by an action plugin inside ``ansible-playbook``
``pyinfra``     pyinfra's operations, through its API
``cloud_init``  cloud-config for a first boot: renders, and connects to nothing
``simulate``    in memory
"""

from aiprov.outcome import Engine, Listener, Outcome, Status

__all__ = ["Engine", "Listener", "Outcome", "Status"]
