"""What runs on the host at its first boot: the steps of a rendered cloud-config, in their order.

This package is shipped in the user-data as one zip file and runs on the host's own Python (3.6
and later, standard library only). It never imports the rest of aiprov. Each step asks the host
first and changes it only where it differs, so a run that was cut off is taken up where it stood.
"""
