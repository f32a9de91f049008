"""People in other poses: a generator from appearance and skeleton to picture, its discriminator and its guider."""
