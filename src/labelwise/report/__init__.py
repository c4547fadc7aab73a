"""Reports, made from the files of a run folder and from nothing else.

``html.write_report`` and ``html.compare_runs`` write self-contained pages, ``terminal.results_table`` the table of the
command line. ``read`` opens a run folder, ``summary`` holds what both kinds of report say, ``figures`` turns a run into
the pictures that ``plots`` draws.
"""
