"""``labelwise experiment``: a table of many runs. Rows are ways to train, columns values of one key, cells mean ± std.

Every cell is a run of ``labelwise refine`` in a folder of its own, so an experiment goes on where it was stopped. Of
multi-label data each trained network can be followed by category-wise fine-tuning in several ways (``heads``), and
several networks can be scored as one (``ensembles``).
"""
