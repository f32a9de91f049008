"""The contract between the packages: what a sample is, and shards of samples on disk.

Reading order: `schema` and `semantics` say what a sample holds; `codec` turns fields into bytes; `archive` and
`writer` put the bytes into a tar; `manifest` describes a set of tars; `build` (with `workers`) makes a set; `stream`
and `table` read it, `remote` and `cache` where it lies behind a URL; `verify`, `info` and `sheet` look at it; `convert`
packs real data sets and unpacks sets for other tools; `console` is what the command lines share.

Importing this package imports numpy only. `shards.codec` needs simplejpeg, deflate, orjson and Pillow, `shards.stream`
needs torch and webdataset, and URLs the extra `remote`.
"""

from shards.schema import MEMBERS, SCHEMA_VERSION, Meta, Sample, ShardError

__all__ = ["MEMBERS", "SCHEMA_VERSION", "Meta", "Sample", "ShardError"]
