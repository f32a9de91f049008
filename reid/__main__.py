"""python -m reid; see `reid.cli`. A worker process imports this file anew, so there is nothing else in it."""

if __name__ == "__main__":
    from reid.cli import cli
    from shards.console import main

    main(cli)
