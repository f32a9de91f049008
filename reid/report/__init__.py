"""A finished run as one HTML page that stands alone: `page` writes it, of `history` (curves) and a `section` for each set
that is searched in (what was `found` there, `rank_lists`, `attention`, `drawings`, `part_scores`); `charts` and `pictures`
are what it shows."""
