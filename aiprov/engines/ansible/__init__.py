"""The engine ``ansible``: a plan made real by ansible.builtin modules.

``tasks.py``    the mapping from a change to module calls, pure
``inside.py``   runs them inside ``ansible-playbook``, over the connection that Ansible has
``action.py``   what is behind the action plugin ``aiprov.core.converge`` of the roles
``process.py``  ``AnsibleEngine``, for ``aiprov apply --engine ansible``
``render.py``   the same calls as plain tasks, for people

This package imports nothing of Ansible; ``modules.py``, ``inside.py`` and ``action.py`` do.
"""
