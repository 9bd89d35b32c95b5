"""A planted example of every rule of the analysis, and a neighbour that looks like it.

A line that has to be told ends with the ids of the rules that it breaks; every other line has to be passed over. The
rows of models and code are put together to one project of two contexts, `people` and `sales`, app labels both. Those
of traces run in the shop, as code of its orders.
"""
