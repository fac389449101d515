"""The executable specification: the same switch, one frame at a time, in plain Python, narrating each decision.

Read ``switch.py`` next to the page of rules (``docs/rules.md``): the rules have the same numbers and stand in the
same order.  Nothing here is shared with the compiled datapath; where the two disagree, one of them has a bug.
"""
