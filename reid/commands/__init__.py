"""The commands of `python -m reid`, one file each."""
