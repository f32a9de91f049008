"""A run as one HTML page that stands alone.

`page` renders it, of `history` (the curves of the run) and a `section` for each set: what was `found` in it, `rank_lists`,
and `attention` (Grad-CAM, similarity of parts). `charts` and `pictures` are what these are drawn with.
"""
