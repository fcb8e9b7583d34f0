# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: validate
short_description: Test every GPU of the play's hosts under load, and judge them
version_added: "0.2.0"
description:
  - Does what C(aiprov validate) does, with the play's inventory, limit, extra variables, passwords
    and forks. It runs once, for all hosts that have the role P(aiprov.core.gpu_validation#role).
  - The task fails unless all that was measured is as it should be. Its answer says where the
    reports are.
options:
  budget:
    description: How long each GPU is tested, such as V(20m), V(2h) or V(24h).
    type: str
    default: 20m
  device:
    description: With V(cpu), processors stand for the GPUs, which proves the way and not the
      hardware.
    type: str
    choices: [cuda, cpu]
    default: cuda
  output:
    description: A folder on the controller that gets copies of the reports.
    type: path
  resume:
    description: Go on with the newest validation that is not finished.
    type: bool
    default: false
requirements:
  - The Python package aiprov, on the controller, in the Python that runs Ansible.
author:
  - The aiprov authors
attributes:
  check_mode:
    support: none
    description: With C(--check) it is skipped, because it puts load on hosts.
  diff_mode:
    support: none
    description: It changes nothing on hosts.
  platform:
    support: full
    platforms: debian, ubuntu, rhel
    description: Operating systems that the roles support.
extends_documentation_fragment: []
"""

EXAMPLES = r"""
- name: Two hours for each GPU
  aiprov.core.validate:
    budget: 2h
    output: reports
"""

RETURN = r"""
verdict:
  description: That of all hosts, V(ok), V(failed) or V(not measured).
  returned: when a validation came to an end
  type: str
  sample: ok
folder:
  description: Where all of the validation is kept on the controller.
  returned: when a validation came to an end
  type: str
reports:
  description: The reports' files on the controller.
  returned: when a validation came to an end
  type: list
  elements: str
"""
