"""Reports, made from the files of a run folder and from nothing else: no method, no torch.

`write.write_report` and `write.compare_runs` write self-contained pages, `write.show` prints to a terminal. `refine`,
`cft`, `experiment` and `scores` say what a run found; those named ``*_page`` make its page, with the pictures. They
share `formats`, `table`, `plots`, `page` and `read`.
"""
