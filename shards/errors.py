"""The error that names where something is wrong."""


class ShardError(ValueError):
    """Something is wrong with a shard, a sample or a field, and the message says which.

    Attributes: rule (what is wrong and what to do), shard, key, field (str or None each).
    """

    def __init__(self, rule: str, *, shard: str | None = None, key: str | None = None, field: str | None = None):
        self.rule, self.shard, self.key, self.field = rule, shard, key, field
        parts = [f"{what} {name}" for what, name in (("shard", shard), ("key", key), ("field", field)) if name]
        super().__init__(": ".join(([", ".join(parts)] if parts else []) + [rule]))

    def __reduce__(self):
        return _rebuild_error, (self.rule, self.shard, self.key, self.field)


def _rebuild_error(rule: str, shard: str | None, key: str | None, field: str | None) -> ShardError:
    return ShardError(rule, shard=shard, key=key, field=field)
