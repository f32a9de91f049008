"""Where keypoints come from for sets that have none: other programs' files, and other programs."""
