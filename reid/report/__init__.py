"""A finished run as one HTML page that stands alone: `page` writes it, of `history` (curves) and `retrieval` (one section
for each set that is searched in, with `parts`); `charts` and `pictures` are what it shows."""
