"""The benchmark: aiprov beside what people use today, in one run, on the same lab hosts.

``python -m tests.bench`` (as root) prints tables of medians and ratios. It is no test: nothing
fails for being slow. A peer whose run was not what it is compared for (it changed something where
nothing was to change, or left another host behind) ends the benchmark with an error.

``measure.py``   runs commands side by side and says what each cost; ``once.py`` starts them
``stage.py``     the lab's hosts, their inventories, the commands that are compared
``ordinary.py``  the resources as an ordinary playbook
``plain.py``     the resources as a plain pyinfra deploy
``parts.py``     what is measured of runs that change nothing
``fresh.py``     what is measured of runs that do all the work
``table.py``     the figures as Markdown, and the targets
"""
