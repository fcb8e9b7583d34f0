# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: converge
short_description: Bring a host to what one aiprov role wants
version_added: "0.1.0"
description:
  - Reads what the host is and what is on it in one exchange, plans what has to change, makes the
    changes with modules of C(ansible.builtin), and reads the host again. The task is successful
    when nothing is left to change.
  - Where nothing has to change, no module runs at all.
  - The roles of this collection consist of this one task. Their variables are described by
    C(ansible-doc --type role).
options:
  role:
    description: Name of the role, such as V(docker).
    type: str
    required: true
requirements:
  - The Python package aiprov, on the controller, in the Python that runs Ansible.
author:
  - The aiprov authors
attributes:
  check_mode:
    support: full
    description: Returns the plan, which is what a run would do, and touches nothing.
  diff_mode:
    support: full
    description: Shows files before and after; values that are secret are hidden.
  platform:
    support: full
    platforms: debian, ubuntu, rhel
    description: Operating systems that the roles support.
extends_documentation_fragment: []
"""

EXAMPLES = r"""
- name: Docker, as the variables docker_* say
  aiprov.core.converge:
    role: docker
"""

RETURN = r"""
plan:
  description: What was changed, or with C(--check) would be, and why; a line each.
  returned: always
  type: list
  elements: str
  sample: ["File[/etc/docker/daemon.json]: content differs"]
stages:
  description: How many times changes were made and read back before nothing was left.
  returned: always
  type: int
  sample: 1
"""
