"""A validation from end to end: the payload on many hosts at once, its journals, the verdicts.

``run`` is the page: what is done in which order. ``remote`` is what is done on a host, ``course``
the way of one host, ``folder`` what is kept on the controller, ``judging`` what is made of that:
it reads the folder and no host, so a verdict can be made again.
"""
