"""Public data sets into shards, and shards into the folders that other reID tools read.

Reading order: `listing` says what a layout tells of each picture; `market`, `msmt`, `cuhk`, `mars`, `partial`,
`rendered`, `people` and `densepose` each know the layout of one family of data sets; `layouts` is the table of them;
`pack` turns any of them into a set; `unpack` goes back; `commands` are the command lines of both.

A layout is a function from the folder as its authors give it to one `Picture` after another, in an order that depends on
names alone. It looks at names and lists, not at pictures. Nothing is downloaded.
"""
