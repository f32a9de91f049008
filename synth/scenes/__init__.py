"""Surveillance scenes: the same people walking past the cameras of a network, cut out as a detector would.

    config  -> network (cameras) , people (identities) -> visits (who passes where) -> frame (one picture and its labels)
            -> detect (boxes and crops) -> generate (samples of a shard)

World axes of a camera: it stands above the origin and looks along -z; everybody walks on the plane y = 0.
"""
